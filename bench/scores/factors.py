"""How well content and style are told apart, where data have no true latents but known factors: leakage, style, swaps.

The estimated latents are split into a style block, those whose distribution changes between domains, and a content block, the rest; from
the estimates alone, never from the factors. Probes are fitted on validation and scored on test. A judge, which is trained on the images of
the training part, says what is seen in what a decoder makes of swapped blocks. Beside each score stand its chance and its ceiling.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from bench.scores import Score, declare, training
from bench.scores.metrics import Encoded, checked, kernel_predictions
from datasets import Instance, Split

assert training, "imported first, so that the scores have one order in every process"

BINS = 10  # of a latent's values, by its quantiles
CHANGED = 0.05  # of the entropy of the domain: a latent that says more of it is style
N_AXES, N_UNITS, N_EPOCHS = 60, 256, 60  # of the judge: principal axes of an image, hidden units, passes over the data
SOURCE = "after Li et al. 2025, section 6; the scores are this project's"
SWAP_SEED = SHUFFLE_SEED = 0
CLEAR = 0.05  # of real images are less clear than an image that counts as one of a class


@dataclass(frozen=True)
class Seen:
    """What a judge sees in images: content (n_samples,), styles (n_samples, n_styles), domains and how clear the content is (n_samples,)."""

    content: np.ndarray
    style: np.ndarray
    domains: np.ndarray
    clear: np.ndarray  # the greatest output of a class, near 1 for most images


class Judge:
    """Predicts content, styles and domain of an image: a network with one hidden layer on the principal axes, least squares.

    One output per class and domain, of which the greatest is meant; a style that a point does not have is taken to be average in training.
    Values beyond those of the training part are seen as the least or the greatest of these, as a screen shows them: the outputs grow with
    the contrast.
    """

    def __init__(self, train: Split, n_domains: int, seed: int = 0):
        from sklearn.decomposition import PCA
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        assert train.content is not None and train.style is not None, "a judge is trained on known factors"
        self.n_classes, self.n_domains = int(train.content.max()) + 1, n_domains
        self.mean, self.std = np.nanmean(train.style, axis=0), np.nanstd(train.style, axis=0) + 1e-9
        targets = [
            np.eye(self.n_classes)[train.content],
            np.eye(n_domains)[train.domains],
            np.nan_to_num((train.style - self.mean) / self.std),
        ]
        n_axes = min(N_AXES, *train.x.shape)
        self.limits = train.x.min(), train.x.max()
        self.axes = PCA(n_axes, whiten=True, svd_solver="randomized", random_state=seed).fit(train.x)
        self.network = MLPRegressor(
            hidden_layer_sizes=(N_UNITS,), max_iter=N_EPOCHS, tol=0, alpha=1e-3, random_state=seed
        )
        with warnings.catch_warnings():
            # It trains for so many passes, and need not converge.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.network.fit(self._coordinates(train.x), np.concatenate(targets, axis=1))

    def __call__(self, x: np.ndarray) -> Seen:
        found = self.network.predict(self._coordinates(x))
        content, domains, style = np.split(found, [self.n_classes, self.n_classes + self.n_domains], axis=1)
        return Seen(content.argmax(1), style * self.std + self.mean, domains.argmax(1), content.max(1))

    def features(self, x: np.ndarray) -> np.ndarray:
        """The hidden units (n_samples, N_UNITS)."""
        return np.maximum(self._coordinates(x) @ self.network.coefs_[0] + self.network.intercepts_[0], 0)

    def _coordinates(self, x: np.ndarray) -> np.ndarray:
        return self.axes.transform(np.clip(x, *self.limits))


def is_style(z_hat: np.ndarray, domains: np.ndarray) -> np.ndarray:
    """Which estimated latents change between domains, (n_estimated,) of truth values.

    Those whose mutual information with the domain is more than `CHANGED` of the domain's entropy, by the counts in `BINS` quantile bins, less
    what independent ones have on average, (bins - 1) (domains - 1) / (2 n_samples) nats (Miller 1955).
    """
    _, own = np.unique(domains, return_inverse=True)
    n_domains = own.max() + 1
    shares = np.bincount(own) / len(own)
    entropy = -(shares * np.log(shares)).sum()
    found = np.zeros(z_hat.shape[1], bool)
    if n_domains < 2:
        return found
    for latent, values in enumerate(z_hat.T):
        inner = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
        bins = np.searchsorted(inner, values)
        joint = np.bincount(bins * n_domains + own, minlength=(len(inner) + 1) * n_domains).reshape(
            -1, n_domains
        ) / len(own)
        rows = joint.sum(1, keepdims=True)
        positive = joint > 0
        information = (joint[positive] * np.log((joint / (rows * shares + (rows == 0)))[positive])).sum()
        bias = ((rows > 0).sum() - 1) * (n_domains - 1) / (2 * len(own))
        found[latent] = information - bias > CHANGED * entropy
    return found


def swapped(z_hat: np.ndarray, style: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimates (n_samples, n_estimated) with the style block of another point, and which one, (n_samples,)."""
    other = np.random.default_rng(SWAP_SEED).permutation(len(z_hat))
    return np.where(style, z_hat[other], z_hat), other


def factor_scores(
    instance: Instance,
    validation: np.ndarray,
    test: np.ndarray,
    judge: Judge,
    decode: Callable[[np.ndarray], np.ndarray] | None = None,
) -> dict[str, float]:
    """The scores of this module of estimates (n_samples, n_estimated) on two splits; those of swaps need `decode`."""
    fitted, scored = instance.validation, instance.test
    assert scored.content is not None and scored.style is not None, "factors are known here"
    style = is_style(validation, fitted.domains)
    blocks = {"content": ~style, "style": style}
    found: dict[str, float] = {"n_changing": float(style.sum())}
    for name, own in blocks.items():
        for factor in ("content", "domain"):
            found[f"{factor}_from_{name}"] = _accuracy(factor, fitted, scored, validation[:, own], test[:, own])
        found[f"style_from_{name}"] = _style_r2(fitted, scored, validation[:, own], test[:, own])
    seen = judge(scored.x)
    found |= {
        "content_ceiling": balanced_accuracy_score(scored.content, seen.content),
        "domain_ceiling": balanced_accuracy_score(scored.domains, seen.domains),
        "style_ceiling": r2_of(scored.style, seen.style),
        "content_chance": 1 / len(np.unique(scored.content)),
        "domain_chance": 1 / len(np.unique(scored.domains)),
    }
    if decode is not None:
        mixed, other = swapped(test, style)
        seen = judge(decode(mixed))
        found |= {
            "swap_content": balanced_accuracy_score(scored.content, seen.content),
            "swap_domain": balanced_accuracy_score(scored.domains[other], seen.domains),
            "swap_style": r2_of(scored.style[other], seen.style),
        }
    return {name: float(value) for name, value in found.items()}


def made_scores(instance: Instance, judge: Judge, make: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """The scores of images that a model makes by itself: `make` gives one (n, n_observed) for each of the domains (n,)."""
    real, domains = instance.test, instance.test.domains
    made = make(domains)
    names = ("made_content", "made_domain", "made_variety", "made_distance")
    if not np.isfinite(made).all():
        return {}
    level = float(np.quantile(judge(instance.validation.x).clear, CLEAR))
    shuffled = np.random.default_rng(SHUFFLE_SEED).permuted(real.x, axis=0)

    def found(x: np.ndarray, truth: np.ndarray) -> list[float]:
        seen = judge(x)
        variety = [_variety(seen.content[truth == u], judge.n_classes) for u in np.unique(truth)]
        distance = frechet(judge.features(x), judge.features(real.x))
        return [(seen.clear >= level).mean(), balanced_accuracy_score(truth, seen.domains), np.mean(variety), distance]

    scores = dict(zip(names, found(made, domains), strict=True))
    of_real = found(instance.validation.x, instance.validation.domains)
    scores |= {f"{name}_ceiling": value for name, value in zip(names, of_real, strict=True)}
    scores |= {f"{name}_chance": value for name, value in zip(names, found(shuffled, domains), strict=True)}
    return {name: float(value) for name, value in scores.items()}


def _variety(classes: np.ndarray, n_classes: int) -> float:
    """Entropy of the shares of classes (n,), over that of equal shares."""
    shares = np.bincount(classes) / len(classes)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum() / np.log(n_classes))


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of the means and covariances of two samples (n_samples, n) each.

    That is the squared Frechet distance of two Gaussians (Dowson & Landau 1982). The trace of the root is the sum of the singular values of
    A B', where C_a = A' A and C_b = B' B.
    """
    roots: list[Any] = [np.linalg.qr((own - own.mean(0)) / np.sqrt(len(own) - 1), mode="r") for own in (a, b)]
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(apart + sum((root**2).sum() for root in roots) - 2 * np.linalg.norm(roots[0] @ roots[1].T, "nuc"))


def _accuracy(factor: str, fitted: Split, scored: Split, inputs: np.ndarray, inputs_test: np.ndarray) -> float:
    """Balanced accuracy of content or domain by the probe; chance for a block without latents."""
    classes, truth = ((s.content, s.domains)[factor == "domain"] for s in (fitted, scored))
    assert classes is not None and truth is not None
    n_classes = max(classes.max(), truth.max()) + 1
    predicted = _probed(np.eye(n_classes)[classes], inputs, inputs_test, fitted.domains)
    with_points = np.unique(truth)
    if predicted is None:
        return 1 / len(with_points)
    return balanced_accuracy_score(truth, with_points[predicted[:, with_points].argmax(1)])


def _style_r2(fitted: Split, scored: Split, inputs: np.ndarray, inputs_test: np.ndarray) -> float:
    """Mean R^2 over styles by the probe, each on the points that have it; 0 for a block without latents."""
    assert fitted.style is not None and scored.style is not None
    found = []
    for own, truth in zip(fitted.style.T, scored.style.T, strict=True):
        known, kept = ~np.isnan(own), ~np.isnan(truth)
        predicted = _probed(own[known, None], inputs[known], inputs_test[kept], fitted.domains[known])
        found.append(0.0 if predicted is None else r2_of(truth[kept, None], predicted))
    return float(np.mean(found))


def r2_of(truth: np.ndarray, predicted: np.ndarray) -> float:
    """R^2 of `predicted` (n_samples, n_columns), mean over columns; of each, the points count whose truth is not NaN."""
    residual = np.nansum((truth - predicted) ** 2, axis=0)
    total = np.nansum((truth - np.nanmean(truth, axis=0)) ** 2, axis=0)
    return float(np.mean(1 - residual / total))


def _probed(targets: np.ndarray, inputs: np.ndarray, inputs_test: np.ndarray, domains: np.ndarray) -> np.ndarray | None:
    """Predictions on test of the probe of r2_block; None where no input varies."""
    if not inputs.shape[1]:
        return None
    nowhere = np.zeros((len(inputs_test), targets.shape[1]))
    fitted = checked(Encoded(targets, inputs, domains), "validation")
    applied = checked(Encoded(nowhere, inputs_test, np.zeros(len(nowhere), int)), "test")
    return kernel_predictions(fitted, applied)


CONTENT = "the content block, the estimates that do not change between domains"
STYLE = "the style block, those whose distribution changes between domains"
PROBED = "Balanced accuracy on test of the {of} told from {block}, by the probe of r2_block fitted on validation, one output per class."
R2 = "R^2 on test of the known styles from {block}, mean over styles, each on the points that have it, by the probe of r2_block."
JUDGE = "a network with one hidden layer of 256 units on 60 principal axes, trained on the training images"
SWAP = (
    "In what the decoder makes of the content block of one test point and the style block of another, {what}, as the judge sees it: "
    + JUDGE
    + "."
)
MADE = "Of images that the model makes of its prior, one for the domain of each test point, as the judge sees them: {what}."
DECLARED: dict[str, tuple[tuple[str, str] | None, str, str]] = {
    "n_changing": (
        ("Blocks", "n changing"),
        "Latents in the style block",
        "How many estimates are style: their mutual information with the domain, in ten quantile bins on validation and less its bias, is more "
        "than a twentieth of the domain's entropy. The others are content.",
    ),
    "content_from_content": (
        ("Content from", "content"),
        "Accuracy of the content from its block",
        PROBED.format(of="content", block=CONTENT),
    ),
    "content_from_style": (
        ("Content from", "style"),
        "Accuracy of the content from the style block",
        PROBED.format(of="content", block=STYLE),
    ),
    "domain_from_content": (
        ("Domain from", "content"),
        "Accuracy of the domain from the content block",
        PROBED.format(of="domain", block=CONTENT),
    ),
    "domain_from_style": (
        ("Domain from", "style"),
        "Accuracy of the domain from the style block",
        PROBED.format(of="domain", block=STYLE),
    ),
    "style_from_content": (
        ("Style from", "content"),
        "$R^2$ of the styles from the content block",
        R2.format(block=CONTENT),
    ),
    "style_from_style": (("Style from", "style"), "$R^2$ of the styles from their block", R2.format(block=STYLE)),
    "swap_content": (
        ("Swap", "content"),
        "Accuracy of the content after a swap",
        SWAP.format(what="the balanced accuracy of the first point's content"),
    ),
    "swap_style": (
        ("Swap", "style"),
        "$R^2$ of the styles after a swap",
        SWAP.format(what="R^2 of the second point's styles"),
    ),
    "swap_domain": (
        ("Swap", "domain"),
        "Accuracy of the domain after a swap",
        SWAP.format(what="the balanced accuracy of the second point's domain"),
    ),
    "made_content": (
        ("Made", "clear"),
        "Images made that are clear",
        MADE.format(
            what="the share whose content it sees as clearly (its greatest output of a class) as in 19 of 20 real ones"
        ),
    ),
    "made_domain": (
        ("Made", "domain"),
        "Accuracy of the domain of images made",
        MADE.format(what="the balanced accuracy of the domain that was asked for"),
    ),
    "made_variety": (
        ("Made", "variety"),
        "Variety of the images made",
        MADE.format(what="the entropy of the content that it sees, over that of equal shares, mean over domains"),
    ),
    "made_distance": (
        ("Made", "distance"),
        "Distance of the images made to real ones",
        MADE.format(what="the squared Frechet distance of its hidden units to those of the test images"),
    ),
    "content_chance": (None, "Accuracy of the content by chance", "One over the number of classes on test."),
    "domain_chance": (None, "Accuracy of the domain by chance", "One over the number of domains on test."),
    "content_ceiling": (
        None,
        "Accuracy of the content from the image",
        "Balanced accuracy on test of the content in real images, by the judge: " + JUDGE + ".",
    ),
    "domain_ceiling": (None, "Accuracy of the domain from the image", "The same of the domain."),
    "style_ceiling": (
        None,
        "$R^2$ of the styles from the image",
        "R^2 on test of the styles in real images, by the judge.",
    ),
}
for _name in [name for name in DECLARED if name.startswith("made_")]:
    _, _axis, _definition = DECLARED[_name]
    for _kind, _of in (
        ("ceiling", "real ones, those of validation"),
        ("chance", "images each pixel of which is that of another test image"),
    ):
        DECLARED[f"{_name}_{_kind}"] = (None, f"{_axis}: {_kind}", f"The same of {_of}.")
for _name, (_heading, _axis, _definition) in DECLARED.items():
    _is_r2 = _axis.startswith("$R^2$")
    _is_distance = _name.startswith("made_distance")
    _tables = frozenset({"terminal", "paper"} if _heading and not _name.startswith("made_") else ())
    _is_bounded = _name != "n_changing" and not _is_distance
    declare(
        Score(
            _name,
            _definition,
            SOURCE,
            _heading,
            _axis,
            _tables,
            _is_distance,
            bounded=_is_bounded,
            non_negative=not _is_r2,
        )
    )
