"""How well estimated latents recover the true ones: matched correlations (MCC) and probes (R^2).

One function, `score`, from the encodings of two splits to a flat dictionary; `DEFINITIONS` says what each number is.
Everything that is chosen or fitted (assignments, probes, scales) is chosen on validation and scored on test. What was
encoded (posterior means, a floor, a ceiling) and statistics over seeds are the caller's business.

Sources: MCC as in Hyvarinen & Morioka (2016) and Khemakhem et al. (2020). R^2 is one minus residual over total sum of
squares, the total taken around the test mean: a probe worse than a constant is negative, and stays so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, f1_score

from datasets.file import domains_from_0, load
from registry import UsageError

DEFINITIONS = {
    "mcc_pearson": (
        "Absolute Pearson correlations between true and estimated latents: one-to-one assignment of largest sum on "
        "validation, mean over the true latents of the matched correlations on test. "
        "An unmatched true latent, or one matched to a constant, counts 0."
    ),
    "mcc_spearman": (
        "As mcc_pearson with Spearman rank correlations (average ranks for ties), which also choose the assignment."
    ),
    "mcc_within": (
        "As mcc_spearman with the absolute value of the equally weighted mean over domains of the signed Spearman "
        "correlation inside each, which also chooses the assignment. "
        "In each split, domains with fewer than 3 points are skipped and a constant inside a domain correlates 0."
    ),
    "mcc_per_latent": (
        "The matched absolute Spearman correlation on test of each true latent, in order; its mean is mcc_spearman."
    ),
    "r2_component": (
        "Test R^2 (may be negative) of each true latent regressed on the one estimate that mcc_spearman matched to it, "
        "mean over true latents: cubic spline, knots at 13 fixed validation quantiles, constant beyond the outermost, "
        "ridge 1e-6 per point, fitted on validation. An unmatched true latent, or one matched to a constant, counts 0."
    ),
    "r2_block": (
        "Test R^2 (may be negative) of each true latent regressed on all estimates, mean over true latents: Gaussian "
        "kernel ridge fitted on at most 800 validation points, equally spaced in the order of domains, with estimates "
        "standardised on validation, squared bandwidth 2 per estimate (the mean squared distance) and ridge 0.01. "
        "Constant estimates are left out, a constant true latent counts 0, as do all if no estimate varies."
    ),
    "r2_linear": (
        "Test R^2 (may be negative) of each true latent regressed on all estimates, mean over true latents: least "
        "squares with intercept, ridge 1e-8 per point on estimates standardised on validation, fitted on validation. "
        "Constant estimates are left out, a constant true latent counts 0, as do all if no estimate varies."
    ),
    "r2_content": (
        "As r2_block for the latents that do not change between domains, from the estimates that mcc_spearman matched to them alone. "
        "Empty unless some latents change and some do not."
    ),
    "mcc_style": (
        "The mean of mcc_per_latent over the latents that change between domains. Empty unless some latents change and some do not."
    ),
    "support_ap": (
        "Average precision of the estimated support of the mixing: its entries, true or not, ranked by the strength "
        "E |dx_k/dz_i| * std(z_i) of the decoder (test, x of unit variance) of the estimate that mcc_spearman matched to the latent, 0 for "
        "an unmatched one. Empty without a decoder, with a read-out behind the encoder, or where the true latents or their support are not known or "
        "the support is full."
    ),
    "support_f1": "F1 score of the same entries, those of strength above 0.1 being edges. Empty where support_ap is.",
}

EDGE = 0.1  # standard deviations of an observed variable: what counts as an edge of the estimated support

SOURCES = {
    "mcc_pearson": "Hyvarinen & Morioka 2016; choosing the assignment on validation is this project's",
    "mcc_spearman": "Khemakhem et al. 2020; choosing the assignment on validation is this project's",
    "mcc_within": "this project",
    "mcc_per_latent": "this project",
    "r2_component": "this project",
    "r2_block": "von Kügelgen et al. 2021",
    "r2_linear": "Zimmermann et al. 2021",
    "r2_content": "von Kügelgen et al. 2021",
    "mcc_style": "this project",
    "support_ap": "Zheng, Ng & Zhang 2022, supports of Jacobians; the score is this project's",
    "support_f1": "Zheng, Ng & Zhang 2022, supports of Jacobians; the score is this project's",
}

CONSTANT = 1e-6  # a standard deviation this small beside the largest magnitude is float32 rounding, not a signal
LARGEST = 1e100  # squares and sums of larger values overflow
FEWEST_IN_DOMAIN = 3
FEWEST_POINTS = 50  # in a file of latents
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
    likes, at least one. domains: (n_samples,), integers from 0.
    """

    z: np.ndarray
    z_hat: np.ndarray
    domains: np.ndarray


@dataclass(frozen=True)
class Supports:
    """The true support of the mixing (n_observed, n_latents), boolean, and the strength of the decoder's edges (n_observed, n_estimated)."""

    true: np.ndarray
    strength: np.ndarray


def score(
    validation: Encoded, test: Encoded, changing: np.ndarray | None = None, supports: Supports | None = None
) -> dict[str, Any]:
    """All scores of `DEFINITIONS`: floats, and for `mcc_per_latent` a list of `n_latents` floats.

    `changing` (n_latents,), boolean, says which latents change between domains; the scores of content and style are None where it is
    not known, or where not both kinds are there.

    Computed in float64 whatever the dtype of the inputs, which are not changed. Raises ValueError where shapes
    disagree, values are not finite, domains are not integers from 0, or no domain of a split has three points.
    """
    validation, test = _checked(validation, "validation"), _checked(test, "test")
    for name in ("z", "z_hat"):
        widths = [getattr(split, name).shape[1] for split in (validation, test)]
        if widths[0] != widths[1]:
            raise ValueError(f"{name} has {widths[0]} columns on validation and {widths[1]} on test")

    pearson, _ = _matched(_pearson, validation, test)
    spearman, estimate_of = _matched(_spearman, validation, test)
    within, _ = _matched(_spearman_within, validation, test)
    return {
        "mcc_pearson": float(pearson.mean()),
        "mcc_spearman": float(spearman.mean()),
        "mcc_within": float(within.mean()),
        "mcc_per_latent": spearman.tolist(),
        "r2_component": _r2_component(validation, test, estimate_of),
        "r2_block": _r2_block(validation, test),
        "r2_linear": _r2_linear(validation, test),
        **_content_and_style(validation, test, spearman, estimate_of, changing),
        **_support(supports, estimate_of),
    }


def read(path: str) -> tuple[Encoded, Encoded]:
    """The latents in an .npz file (`z`, `z_hat`, and `domain` where there are several), split at random into two halves.

    Raises UsageError where the file or its arrays are not what `score` needs.
    """
    arrays = load(path, required=("z", "z_hat"), optional=("domain",))
    z, z_hat = arrays["z"], arrays["z_hat"]
    if len(z) != len(z_hat):
        raise UsageError(f"{path}: z and z_hat have {len(z)} and {len(z_hat)} rows")
    domains = domains_from_0(path, arrays.get("domain", np.zeros(len(z), dtype=int)), len(z))
    if len(z) < FEWEST_POINTS:
        raise UsageError(f"{path} has {len(z)} points; at least {FEWEST_POINTS} are needed")
    halves = np.array_split(np.random.default_rng(0).permutation(len(z)), 2)
    validation, test = (Encoded(z[rows], z_hat[rows], domains[rows]) for rows in halves)
    try:
        return _checked(validation, "validation"), _checked(test, "test")
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from None


def mcc_spearman(validation: Encoded, test: Encoded) -> float:
    """That score alone, as `score` gives it."""
    return float(_matched(_spearman, _checked(validation, "validation"), _checked(test, "test"))[0].mean())


def _checked(split: Encoded, name: str) -> Encoded:
    """The split in float64, if it is one."""
    z, z_hat = (np.asarray(values, dtype=np.float64) for values in (split.z, split.z_hat))
    domains = np.asarray(split.domains)
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
    return Encoded(z, z_hat, domains)


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
    parts = [Encoded(split.z[rows], split.z_hat[rows], split.domains[rows]) for rows in members]
    return np.mean([_spearman(part) for part in parts if len(part.z) >= FEWEST_IN_DOMAIN], axis=0)


def _correlations(split: Encoded, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Pearson correlations (n_latents, n_estimated) of the transformed columns; exactly 0 where one is constant."""
    columns = np.hstack([split.z, split.z_hat])
    constant = _constant(columns)
    columns = transform(columns)
    centred = np.where(constant, 0, columns - columns.mean(axis=0))
    unit = centred / np.where(constant, 1, np.linalg.norm(centred, axis=0))
    n_latents = split.z.shape[1]
    return unit[:, :n_latents].T @ unit[:, n_latents:]


def _constant(columns: np.ndarray) -> np.ndarray:
    """Boolean (n_columns,)."""
    return columns.std(axis=0) <= CONSTANT * np.abs(columns).max(axis=0)


# --- probes


def _r2_component(validation: Encoded, test: Encoded, estimate_of: dict[int, int]) -> float:
    per_latent = np.zeros(validation.z.shape[1])
    for latent, estimate in estimate_of.items():
        basis, basis_test = _splines(validation.z_hat[:, estimate], test.z_hat[:, estimate])
        predicted = _ridge(basis, validation.z[:, [latent]], basis_test, SPLINE_RIDGE)
        per_latent[latent] = _r2(test.z[:, [latent]], predicted)[0]
    return float(per_latent.mean())


def _content_and_style(
    validation: Encoded, test: Encoded, spearman: np.ndarray, estimate_of: dict[int, int], changing: np.ndarray | None
) -> dict[str, float | None]:
    if changing is None or changing.all() or not changing.any():
        return {"r2_content": None, "mcc_style": None}
    content = np.flatnonzero(~changing)
    matched = [estimate_of[latent] for latent in content.tolist() if latent in estimate_of]
    blocks = [Encoded(s.z[:, content], s.z_hat[:, matched], s.domains) for s in (validation, test)]
    return {
        "r2_content": _r2_block(*blocks) if matched else 0.0,
        "mcc_style": float(spearman[changing].mean()),
    }


def _support(supports: Supports | None, estimate_of: dict[int, int]) -> dict[str, float | None]:
    if supports is None or supports.true.all() or not supports.true.any():
        return {"support_ap": None, "support_f1": None}
    strength = np.zeros(supports.true.shape)
    for latent, estimate in estimate_of.items():
        strength[:, latent] = supports.strength[:, estimate]
    edges = supports.true.ravel().astype(bool)
    return {
        "support_ap": float(average_precision_score(edges, strength.ravel())),
        "support_f1": float(f1_score(edges, strength.ravel() > EDGE)),
    }


def _r2_linear(validation: Encoded, test: Encoded) -> float:
    inputs, inputs_test = _standardised(validation.z_hat, test.z_hat)
    if inputs.shape[1] == 0:
        return 0.0
    return float(_r2(test.z, _ridge(inputs, validation.z, inputs_test, LINEAR_RIDGE)).mean())


def _r2_block(validation: Encoded, test: Encoded) -> float:
    inputs, inputs_test = _standardised(validation.z_hat, test.z_hat)
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
    return float(_r2(test.z, _gaussian_kernel(inputs_test, inputs) @ weights + mean).mean())


def _r2(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(n_columns,); 0 where the truth is constant, whose R^2 is undefined."""
    constant = _constant(truth)
    total = np.where(constant, 1, ((truth - truth.mean(axis=0)) ** 2).sum(axis=0))
    return np.where(constant, 0, 1 - ((truth - predicted) ** 2).sum(axis=0) / total)


def _standardised(fitted: np.ndarray, applied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by the mean and standard deviation of the first, without the columns that are constant there."""
    alive = ~_constant(fitted)
    fitted, applied = fitted[:, alive], applied[:, alive]
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
