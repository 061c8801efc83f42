"""How well estimated latents recover the true ones: matched correlations (MCC) and probes (R^2).

`evaluate` takes the encodings of two splits and gives every score that is declared here or by a plug-in. Everything that is chosen or
fitted (assignments, probes, scales) is chosen on validation and scored on test. What was encoded (posterior means, a floor, a ceiling)
and statistics over seeds are the caller's business.

Sources: MCC as in Hyvarinen & Morioka (2016) and Khemakhem et al. (2020). R^2 is one minus residual over total sum of
squares, the total taken around the test mean: a probe worse than a constant is negative, and stays so.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, f1_score

from bench.scores import OWN, SCORES, score
from datasets.columns import is_constant, rounding

EDGE = 0.1  # standard deviations of an observed variable: what counts as an edge of the estimated support
LARGEST = 1e100  # squares and sums of larger values overflow
FEWEST_IN_DOMAIN = 3
COMPUTED = 5  # times the rounding of a number is that of a result: 1e-6 of the largest magnitude in single precision
# Denser in the tails: an estimate may stretch them (exp) or squeeze them (tanh).
KNOT_QUANTILES = np.array([0, 0.01, 0.05, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 0.95, 0.99, 1])
SPLINE_RIDGE = 1e-6
LINEAR_RIDGE = 1e-8
KERNEL_RIDGE = 1e-2
KERNEL_POINTS = 800


@dataclass(frozen=True)
class Encoded:
    """The latents of one split.

    z: true latents, (n_samples, n_latents). z_hat: estimated latents, (n_samples, n_estimated), as many as the method
    likes, at least one. domains: (n_samples,), integers from 0. rounding: relative, of z and of z_hat; by their dtypes if not given.
    """

    z: np.ndarray
    z_hat: np.ndarray
    domains: np.ndarray
    rounding: tuple[float, float] | None = None


@dataclass(frozen=True)
class Supports:
    """The true support of the mixing (n_observed, n_latents), boolean, and the strength of the decoder's edges (n_observed, n_estimated)."""

    true: np.ndarray
    strength: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """What the scores of one trial are computed from: its latents on both splits in float64, and what several scores share.

    `changing` (n_latents,), boolean, says which latents change between domains, None where that is not known.
    """

    validation: Encoded
    test: Encoded
    changing: np.ndarray | None = None
    supports: Supports | None = None

    @classmethod
    def of(
        cls, validation: Encoded, test: Encoded, changing: np.ndarray | None = None, supports: Supports | None = None
    ) -> Evaluation:
        """The evaluation of splits of any real type, which are not changed.

        Raises ValueError where shapes disagree, values are not finite, domains are not integers from 0, or no domain of a split has
        three points.
        """
        validation, test = checked(validation, "validation"), checked(test, "test")
        for name in ("z", "z_hat"):
            widths = [getattr(split, name).shape[1] for split in (validation, test)]
            if widths[0] != widths[1]:
                raise ValueError(f"{name} has {widths[0]} columns on validation and {widths[1]} on test")
        return cls(validation, test, changing, supports)

    def scores(self) -> tuple[dict[str, Any], list[str]]:
        """Every score of `SCORES` that is computed from latents, and what went wrong with scores of plug-ins, a sentence each.

        A score is a float, or None; one per latent a list of n_latents floats. A plug-in's that raises or gives anything else is None.
        """
        found: dict[str, Any] = {}
        wrong = []
        for name, record in SCORES.items():
            if record.compute is None:
                continue
            try:
                found[name] = _number(record.compute(self), record.per_latent)
            except Exception as error:
                if record.compute.__module__ in OWN:
                    raise
                found[name] = None
                wrong.append(f"score {name}: {type(error).__name__}: {error}")
        return found, wrong

    @functools.cached_property
    def pearson(self) -> np.ndarray:
        """Matched |correlation| on test of each true latent, (n_latents,)."""
        return _matched(_pearson, self.validation, self.test)[0]

    @functools.cached_property
    def _ranked(self) -> tuple[np.ndarray, dict[int, int]]:
        return _matched(_spearman, self.validation, self.test)

    @property
    def spearman(self) -> np.ndarray:
        """The same with rank correlations, which also choose the match."""
        return self._ranked[0]

    @property
    def estimate_of(self) -> dict[int, int]:
        """The estimated latent that `spearman` matched to each true one that has a match."""
        return self._ranked[1]

    @property
    def both_kinds(self) -> bool:
        """Whether some latents change between domains and some do not."""
        return self.changing is not None and bool(self.changing.any()) and not self.changing.all()

    @functools.cached_property
    def edges(self) -> tuple[np.ndarray, np.ndarray] | None:
        """True edges (boolean) and strength of the estimated ones, matched, both (n_observed * n_latents,); None without a score."""
        supports = self.supports
        if supports is None or supports.true.all() or not supports.true.any():
            return None
        strength = np.zeros(supports.true.shape)
        for latent, estimate in self.estimate_of.items():
            strength[:, latent] = supports.strength[:, estimate]
        return supports.true.ravel().astype(bool), strength.ravel()


def evaluate(
    validation: Encoded, test: Encoded, changing: np.ndarray | None = None, supports: Supports | None = None
) -> dict[str, Any]:
    """The scores of `Evaluation.of` these arguments."""
    return Evaluation.of(validation, test, changing, supports).scores()[0]


def _number(value: Any, per_latent: bool) -> Any:
    """A score as a plain float, a list of them, or None. Raises TypeError for anything else."""
    if value is None:
        return None
    if per_latent:
        return [float(each) for each in value]
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(f"a score must be a number, and is {type(value).__name__}")
    return float(value)


# --- the scores, in the order of the tables

MCC_SOURCE = "choosing the assignment on validation is this project's"


@score(
    "mcc_spearman",
    heading=("MCC", "Spearman"),
    axis="MCC (Spearman), test",
    tables=("terminal", "paper", "trials"),
    bounded=True,
    source=f"Khemakhem et al. 2020; {MCC_SOURCE}",
)
def mcc_spearman(e: Evaluation) -> float:
    """As mcc_pearson with Spearman rank correlations (average ranks for ties), which also choose the assignment."""
    return float(e.spearman.mean())


@score(
    "mcc_pearson",
    heading=("MCC", "Pearson"),
    axis="MCC (Pearson), test",
    tables=("paper", "trials"),
    bounded=True,
    source=f"Hyvarinen & Morioka 2016; {MCC_SOURCE}",
)
def mcc_pearson(e: Evaluation) -> float:
    """Absolute Pearson correlations between true and estimated latents: one-to-one assignment of largest sum on validation, mean over
    the true latents of the matched correlations on test. An unmatched true latent, or one matched to a constant, counts 0."""
    return float(e.pearson.mean())


@score(
    "mcc_within",
    heading=("MCC", "within"),
    axis="MCC within domains, test",
    tables=("terminal", "paper", "trials"),
    bounded=True,
    source="this project",
)
def mcc_within(e: Evaluation) -> float:
    """As mcc_spearman with the absolute value of the equally weighted mean over domains of the signed Spearman correlation inside each,
    which also chooses the assignment. In each split, domains with fewer than 3 points are skipped and a constant inside a domain
    correlates 0."""
    return float(_matched(_spearman_within, e.validation, e.test)[0].mean())


@score("mcc_per_latent", per_latent=True, source="this project")
def mcc_per_latent(e: Evaluation) -> list[float]:
    """The matched absolute Spearman correlation on test of each true latent, in order; its mean is mcc_spearman."""
    return e.spearman.tolist()


@score(
    "r2_component",
    heading=("R²", "component"),
    axis="$R^2$ by component, test",
    tables=("paper", "trials"),
    bounded=True,
    source="this project",
)
def r2_component(e: Evaluation) -> float:
    """Test R^2 (may be negative) of each true latent regressed on the one estimate that mcc_spearman matched to it, mean over true
    latents: cubic spline, knots at 13 fixed validation quantiles, constant beyond the outermost, ridge 1e-6 per point, fitted on
    validation. An unmatched true latent, or one matched to a constant, counts 0."""
    per_latent = np.zeros(e.validation.z.shape[1])
    for latent, estimate in e.estimate_of.items():
        basis, basis_test = _splines(e.validation.z_hat[:, estimate], e.test.z_hat[:, estimate])
        predicted = _ridge(basis, e.validation.z[:, [latent]], basis_test, SPLINE_RIDGE)
        per_latent[latent] = _r2(e.test.z[:, [latent]], predicted, e.test)[0]
    return float(per_latent.mean())


@score(
    "r2_block",
    heading=("R²", "block"),
    axis="$R^2$ by block, test",
    tables=("terminal", "paper", "trials"),
    bounded=True,
    source="von Kügelgen et al. 2021",
)
def r2_block(e: Evaluation) -> float:
    """Test R^2 (may be negative) of each true latent regressed on all estimates, mean over true latents: Gaussian kernel ridge fitted on
    at most 800 validation points, equally spaced in the order of domains, with estimates standardised on validation, squared bandwidth
    2 per estimate (the mean squared distance) and ridge 0.01. Constant estimates are left out, a constant true latent counts 0, as do
    all if no estimate varies."""
    return _kernel_r2(e.validation, e.test)


@score("r2_linear", heading=("R²", "linear"), axis="$R^2$, linear, test", bounded=True, source="Zimmermann et al. 2021")
def r2_linear(e: Evaluation) -> float:
    """Test R^2 (may be negative) of each true latent regressed on all estimates, mean over true latents: least squares with intercept,
    ridge 1e-8 per point on estimates standardised on validation, fitted on validation. Constant estimates are left out, a constant true
    latent counts 0, as do all if no estimate varies."""
    inputs, inputs_test = _standardised(e.validation, e.test)
    if inputs.shape[1] == 0:
        return 0.0
    return float(_r2(e.test.z, _ridge(inputs, e.validation.z, inputs_test, LINEAR_RIDGE), e.test).mean())


@score(
    "r2_content",
    heading=("R²", "content"),
    axis="$R^2$ of the content, test",
    tables=("terminal", "paper"),
    bounded=True,
    source="von Kügelgen et al. 2021",
)
def r2_content(e: Evaluation) -> float | None:
    """As r2_block for the latents that do not change between domains, from the estimates that mcc_spearman matched to them alone. Empty
    unless some latents change and some do not."""
    if e.changing is None or not e.both_kinds:
        return None
    content = np.flatnonzero(~e.changing)
    matched = [e.estimate_of[latent] for latent in content.tolist() if latent in e.estimate_of]
    blocks = [dataclasses.replace(s, z=s.z[:, content], z_hat=s.z_hat[:, matched]) for s in (e.validation, e.test)]
    return _kernel_r2(*blocks) if matched else 0.0


@score(
    "mcc_style",
    heading=("MCC", "style"),
    axis="MCC of the style, test",
    tables=("terminal", "paper"),
    bounded=True,
    source="this project",
)
def mcc_style(e: Evaluation) -> float | None:
    """The mean of mcc_per_latent over the latents that change between domains. Empty unless some latents change and some do not."""
    return float(e.spearman[e.changing].mean()) if e.both_kinds else None


SUPPORT_SOURCE = "Zheng, Ng & Zhang 2022, supports of Jacobians; the score is this project's"


@score(
    "support_ap",
    heading=("support", "AP"),
    axis="Average precision of the support, test",
    tables=("terminal", "paper"),
    bounded=True,
    source=SUPPORT_SOURCE,
)
def support_ap(e: Evaluation) -> float | None:
    """Average precision of the estimated support of the mixing: its entries, true or not, ranked by the strength E |dx_k/dz_i| * std(z_i)
    of the decoder (test, x of unit variance) of the estimate that mcc_spearman matched to the latent, 0 for an unmatched one. Empty
    without a decoder, with a read-out behind the encoder, or where the true latents or their support are not known or the support is
    full."""
    return None if e.edges is None else float(average_precision_score(*e.edges))


@score(
    "support_f1",
    heading=("support", "F1"),
    axis="F1 score of the support, test",
    bounded=True,
    source=SUPPORT_SOURCE,
)
def support_f1(e: Evaluation) -> float | None:
    """F1 score of the same entries, those of strength above 0.1 being edges. Empty where support_ap is."""
    return None if e.edges is None else float(f1_score(e.edges[0], e.edges[1] > EDGE))


def matched_spearman(validation: Encoded, test: Encoded) -> float:
    """mcc_spearman alone, of splits that need not be checked yet."""
    return mcc_spearman(Evaluation(checked(validation, "validation"), checked(test, "test")))


def checked(split: Encoded, name: str) -> Encoded:
    """The split in float64. Raises ValueError where it is none; `name` is said in the error."""
    domains = np.asarray(split.domains)
    arrays = {"z": np.asarray(split.z), "z_hat": np.asarray(split.z_hat)}
    # Latents were computed: what rounding leaves of a constant is some times that of a single number.
    relative = split.rounding or tuple(COMPUTED * rounding(values.dtype) for values in arrays.values())
    z, z_hat = (np.asarray(values, dtype=np.float64) for values in arrays.values())
    for values, label in ((z, "z"), (z_hat, "z_hat")):
        if values.ndim != 2 or values.shape[1] == 0:
            raise ValueError(f"{label} of the {name} split must be (n_samples, at least 1), got shape {values.shape}")
        if not (np.abs(values) <= LARGEST).all():
            raise ValueError(f"{label} of the {name} split holds values that are not finite (or beyond {LARGEST:g})")
    if domains.ndim != 1 or not len(z) == len(z_hat) == len(domains):
        shapes = f"z {z.shape}, z_hat {z_hat.shape}, domains {domains.shape}"
        raise ValueError(f"the {name} split needs one row of z, of z_hat and one domain per sample, got {shapes}")
    if not np.issubdtype(domains.dtype, np.integer) or (domains < 0).any():
        raise ValueError(f"domains of the {name} split must be integers from 0")
    if np.unique(domains, return_counts=True)[1].max(initial=0) < FEWEST_IN_DOMAIN:
        raise ValueError(
            f"no domain of the {name} split has {FEWEST_IN_DOMAIN} points, too few for a correlation inside a domain"
        )
    return Encoded(z, z_hat, domains, (relative[0], relative[1]))


# --- matched correlations


def _matched(
    correlation: Callable[[Encoded], np.ndarray], validation: Encoded, test: Encoded
) -> tuple[np.ndarray, dict[int, int]]:
    """|correlation| on test of each true latent and its match, (n_latents,), and the match: true to estimated index.

    The match is found on validation. A correlation of exactly 0 on either split means a constant: such a pair counts 0
    and is no match.
    """
    chosen_by, scored_by = (np.abs(correlation(split)) for split in (validation, test))
    latents, estimates = linear_sum_assignment(chosen_by, maximize=True)
    alive = (chosen_by[latents, estimates] > 0) & (scored_by[latents, estimates] > 0)
    latents, estimates = latents[alive], estimates[alive]
    per_latent = np.zeros(len(chosen_by))
    per_latent[latents] = np.minimum(scored_by[latents, estimates], 1)  # rounding can exceed 1
    return per_latent, dict(zip(latents.tolist(), estimates.tolist(), strict=True))


def _pearson(split: Encoded) -> np.ndarray:
    return _correlations(split, lambda columns: columns)


def _spearman(split: Encoded) -> np.ndarray:
    # Ranking rows that lie together in memory takes a fraction of the time of ranking columns.
    return _correlations(split, lambda columns: rankdata(np.ascontiguousarray(columns.T), axis=1).T)


def _spearman_within(split: Encoded) -> np.ndarray:
    """Signed: an estimate that follows a latent upwards in one domain and downwards in another is no function of it."""
    members = [np.flatnonzero(split.domains == domain) for domain in np.unique(split.domains)]
    parts = [Encoded(split.z[rows], split.z_hat[rows], split.domains[rows], split.rounding) for rows in members]
    return np.mean([_spearman(part) for part in parts if len(part.z) >= FEWEST_IN_DOMAIN], axis=0)


def _correlations(split: Encoded, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Pearson correlations (n_latents, n_estimated) of the transformed columns; exactly 0 where one is constant."""
    columns = np.hstack([split.z, split.z_hat])
    constant = np.hstack([is_constant(split.z, _rounding(split)[0]), is_constant(split.z_hat, _rounding(split)[1])])
    columns = transform(columns)
    centred = np.where(constant, 0, columns - columns.mean(axis=0))
    unit = centred / np.where(constant, 1, np.linalg.norm(centred, axis=0))
    n_latents = split.z.shape[1]
    return unit[:, :n_latents].T @ unit[:, n_latents:]


def _rounding(split: Encoded) -> tuple[float, float]:
    assert split.rounding is not None, "only a split that was checked is scored"
    return split.rounding


# --- probes


def _kernel_r2(validation: Encoded, test: Encoded) -> float:
    inputs, inputs_test = _standardised(validation, test)
    if inputs.shape[1] == 0:
        return 0.0
    # Every domain its share, in whatever order the points come.
    size = min(len(inputs), KERNEL_POINTS)
    rows = np.argsort(validation.domains, kind="stable")[np.arange(size) * len(inputs) // size]
    inputs, targets = inputs[rows], validation.z[rows]
    gram = _gaussian_kernel(inputs, inputs)
    gram[np.diag_indices(size)] += KERNEL_RIDGE
    mean = targets.mean(axis=0)
    weights = cho_solve(cho_factor(gram, overwrite_a=True, check_finite=False), targets - mean, check_finite=False)
    return float(_r2(test.z, _gaussian_kernel(inputs_test, inputs) @ weights + mean, test).mean())


def _r2(truth: np.ndarray, predicted: np.ndarray, split: Encoded) -> np.ndarray:
    """(n_columns,) of true latents of `split`; 0 where the truth is constant, whose R^2 is undefined."""
    constant = is_constant(truth, _rounding(split)[0])
    total = np.where(constant, 1, ((truth - truth.mean(axis=0)) ** 2).sum(axis=0))
    return np.where(constant, 0, 1 - ((truth - predicted) ** 2).sum(axis=0) / total)


def _standardised(validation: Encoded, test: Encoded) -> tuple[np.ndarray, np.ndarray]:
    """Both splits' estimates by the mean and standard deviation of the first, without the columns that are constant there."""
    alive = ~is_constant(validation.z_hat, _rounding(validation)[1])
    fitted, applied = validation.z_hat[:, alive], test.z_hat[:, alive]
    mean, scale = fitted.mean(axis=0), fitted.std(axis=0)
    return (fitted - mean) / scale, (applied - mean) / scale


def _splines(fitted: np.ndarray, applied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cubic B-spline bases (n_samples, n_basis) of two vectors, knots from the first, constant outside its range."""
    knots = np.unique(np.quantile(fitted, KNOT_QUANTILES))  # ties can make quantiles coincide
    ends = np.repeat(knots[[0, -1]], 3)
    padded = np.concatenate([ends[:3], knots, ends[3:]])
    inside = (np.clip(values, knots[0], knots[-1]) for values in (fitted, applied))
    basis, basis_applied = (BSpline.design_matrix(values, padded, 3).toarray() for values in inside)
    return basis, basis_applied


def _ridge(inputs: np.ndarray, targets: np.ndarray, inputs_test: np.ndarray, ridge: float) -> np.ndarray:
    """Predictions on test of least squares with an intercept and a penalty `n_samples * ridge * |weights|^2`."""
    centre, mean = inputs.mean(axis=0), targets.mean(axis=0)
    centred = inputs - centre
    gram = centred.T @ centred / len(inputs) + ridge * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (targets - mean) / len(inputs))
    return (inputs_test - centre) @ weights + mean


def _gaussian_kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """exp(-d^2 / (2 s^2)), s^2 = 2 n_columns: the mean squared distance of two standardised points."""
    exponent = left @ right.T
    exponent -= (left**2).sum(axis=1)[:, None] / 2
    exponent -= (right**2).sum(axis=1) / 2
    exponent /= 2 * left.shape[1]
    return np.exp(np.minimum(exponent, 0, out=exponent), out=exponent)
