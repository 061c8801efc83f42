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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, f1_score

from bench.scores import OWN, SCORES, Score, score
from datasets.columns import is_constant, rounding

DEALS = 200  # of the strengths of edges, for what is scored by chance where the match is by the support
EDGE = 0.1  # standard deviations of an observed variable: what counts as an edge of the estimated support
LARGEST = 1e100  # squares and sums of larger values overflow
FEWEST_IN_DOMAIN = 3
COMPUTED = 5  # times the rounding of a number is that of a result: 1e-6 of the largest magnitude in single precision
# Denser in the tails: an estimate may stretch them (exp) or squeeze them (tanh).
KNOT_QUANTILES = np.array([0, 0.01, 0.05, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 0.95, 0.99, 1])
SPLINE_RIDGE = 1e-6
LINEAR_RIDGE = 1e-8
KERNEL_POINTS = 800
KERNEL_CHOICE_POINTS = (
    250  # an eigendecomposition per bandwidth: with 800 points it would take most of the time of all scores
)
KERNEL_BANDWIDTHS = (0.25, 1.0, 4.0, 16.0)  # squared, in units of the mean squared distance of two points
KERNEL_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


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

    @classmethod
    def of_supports(cls, supports: Supports) -> Evaluation:
        """The evaluation of supports where no latent is known: what is scored then are the edges alone."""
        nothing = Encoded(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0, dtype=int))
        return cls(nothing, nothing, None, supports)

    def scores(self, records: Mapping[str, Score] = SCORES) -> tuple[dict[str, Any], list[str]]:
        """Every score of `records` that is computed from latents, and what went wrong with scores of plug-ins, a sentence each.

        Where no latent is known these are the scores of the support, and no plug-in's.
        A score is a float, or None; one per latent a list of n_latents floats. A plug-in's that raises or gives anything else is None.
        """
        found: dict[str, Any] = {}
        wrong = []
        for name, record in records.items():
            if record.compute is None or not (self.has_latents or name in OF_SUPPORT):
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
        return _matched(pearson_of, self.validation, self.test)[0]

    @functools.cached_property
    def _ranked(self) -> tuple[np.ndarray, dict[int, int]]:
        return _matched(spearman_of, self.validation, self.test)

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

    @property
    def has_latents(self) -> bool:
        """Whether true latents are known."""
        return self.test.z.shape[1] > 0

    @functools.cached_property
    def edge_of(self) -> dict[int, int]:
        """The estimated latent whose edges are scored against those of each true one: by the latents, or else by the support itself."""
        if self.has_latents or self.supports is None:
            return self.estimate_of
        return matched_by_support(self.supports)

    @functools.cached_property
    def edges(self) -> tuple[np.ndarray, np.ndarray] | None:
        """True edges (boolean) and strength of the estimated ones, matched, both (n_observed * n_latents,); None without a score."""
        supports = self.supports
        if supports is None or supports.true.all() or not supports.true.any():
            return None
        return supports.true.ravel().astype(bool), _matched_strength(supports, self.edge_of).ravel()

    @functools.cached_property
    def dealt(self) -> np.ndarray:
        """Matched strengths (DEALS, n_observed * n_latents) of deals of the strengths to all entries at random, each matched anew."""
        assert self.supports is not None, "only a support that is known is scored"
        rng = np.random.default_rng(0)
        deals = []
        for _ in range(DEALS):
            own = Supports(self.supports.true, rng.permuted(self.supports.strength))
            deals.append(_matched_strength(own, matched_by_support(own)).ravel())
        return np.stack(deals)


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
    non_negative=True,
    source=f"Khemakhem et al. 2020; {MCC_SOURCE}",
)
def mcc_spearman(e: Evaluation) -> float:
    """Mean over the true latents of the absolute Spearman correlation, that of ranks, with the estimate that each is matched to: a one-to-one
    assignment of largest sum on validation, correlations on test. Ties have average ranks. An unmatched true latent, or one matched to a
    constant, counts 0."""
    return float(e.spearman.mean())


@score(
    "mcc_pearson",
    heading=("MCC", "Pearson"),
    axis="MCC (Pearson), test",
    tables=("paper", "trials"),
    bounded=True,
    non_negative=True,
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
    non_negative=True,
    source="this project",
)
def mcc_within(e: Evaluation) -> float:
    """What is recovered inside single domains, so that telling the domains apart counts nothing: mean over the true latents of the absolute
    value of the signed Spearman correlation inside each domain, averaged over domains with equal weight, with the estimate that each is
    matched to: a one-to-one assignment of largest sum on validation, correlations on test. In each split, domains with fewer than 3 points are skipped and a constant inside a domain
    correlates 0."""
    return float(_matched(spearman_within_of, e.validation, e.test)[0].mean())


@score("mcc_per_latent", per_latent=True, bounded=True, non_negative=True, source="this project")
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
        predicted = ridge_predictions(basis, e.validation.z[:, [latent]], basis_test, SPLINE_RIDGE)
        per_latent[latent] = r2_of(e.test.z[:, [latent]], predicted, e.test)[0]
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
    at most 800 validation points, equally spaced in the order of domains. Each estimate is replaced by its normal score (normal quantile
    of rank / (points + 1), ranks among validation points), so that monotone maps of single estimates change nothing. The squared
    bandwidth, common to all latents (1/4, 1, 4 or 16 times the mean squared distance, 2 per estimate), and the ridge of each latent
    (powers of 10 from 0.0001 to 100) have the least leave-one-out error on 250 of the validation points. Constant estimates are left
    out, a constant true latent counts 0, as do all if no estimate varies."""
    return _kernel_r2(e.validation, e.test)


@score("r2_linear", heading=("R²", "linear"), axis="$R^2$, linear, test", bounded=True, source="Zimmermann et al. 2021")
def r2_linear(e: Evaluation) -> float:
    """Test R^2 (may be negative) of each true latent regressed on all estimates, mean over true latents: least squares with intercept,
    ridge 1e-8 per point on estimates standardised on validation, fitted on validation. Constant estimates are left out, a constant true
    latent counts 0, as do all if no estimate varies."""
    inputs, inputs_test = standardised(e.validation, e.test)
    if inputs.shape[1] == 0:
        return 0.0
    return float(r2_of(e.test.z, ridge_predictions(inputs, e.validation.z, inputs_test, LINEAR_RIDGE), e.test).mean())


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
    non_negative=True,
    source="this project",
)
def mcc_style(e: Evaluation) -> float | None:
    """The mean of mcc_per_latent over the latents that change between domains. Empty unless some latents change and some do not."""
    return float(e.spearman[e.changing].mean()) if e.both_kinds else None


SUPPORT_SOURCE = "Zheng, Ng & Zhang 2022, supports of Jacobians; the score is this project's"
CHANCE_SOURCE = "Bestgen 2015; ties and unmatched latents are this project's"


@score(
    "support_ap",
    heading=("support", "AP"),
    axis="Average precision of the support, test",
    tables=("terminal", "paper"),
    bounded=True,
    non_negative=True,
    source=SUPPORT_SOURCE,
)
def support_ap(e: Evaluation) -> float | None:
    """Average precision of the estimated support of the mixing: its entries, true or not, ranked by the strength E |dx_k/dz_i| * std(z_i)
    of the decoder (test, x of unit variance; of a linear method its loadings) of the estimate that mcc_spearman matched to the latent, 0 for
    an unmatched one. Where no true latent is known, the match is the one-to-one assignment with the largest sum of correlations between
    the strengths of an estimate and the true support of a latent. Empty without a decoder, with a read-out behind the encoder, or where
    the support is not known or is full."""
    return None if e.edges is None else float(average_precision_score(*e.edges))


@score(
    "support_f1",
    heading=("support", "F1"),
    axis="F1 score of the support, test",
    bounded=True,
    non_negative=True,
    source=SUPPORT_SOURCE,
)
def support_f1(e: Evaluation) -> float | None:
    """F1 score of the same entries, those of strength above 0.1 being edges. Empty where support_ap is."""
    return None if e.edges is None else float(f1_score(e.edges[0], e.edges[1] > EDGE))


@score(
    "support_ap_chance",
    axis="Average precision of the support by chance, test",
    bounded=True,
    non_negative=True,
    source=CHANCE_SOURCE,
)
def support_ap_chance(e: Evaluation) -> float | None:
    """What support_ap is on average if the strengths of all matched latents are dealt to their entries at random, the match and ties
    being kept. Where no true latent is known, the match follows the strengths: then it is the mean over 200 random deals of all strengths,
    each matched anew. Empty where support_ap is."""
    if e.edges is None:
        return None
    if e.has_latents:
        return expected_average_precision(*e.edges, _matched_entries(e))
    return float(average_precisions(e.edges[0], e.dealt).mean())


@score(
    "support_f1_chance",
    axis="F1 score of the support by chance, test",
    bounded=True,
    non_negative=True,
    source="this project",
)
def support_f1_chance(e: Evaluation) -> float | None:
    """What support_f1 is on average if the strengths are dealt as for support_ap_chance: as many entries are called edges, at random."""
    if e.edges is None:
        return None
    if e.has_latents:
        return expected_f1(e.edges[0], e.edges[1] > EDGE, _matched_entries(e))
    called = e.dealt > EDGE
    return float((2 * called[:, e.edges[0]].sum(axis=1) / (called.sum(axis=1) + e.edges[0].sum())).mean())


@score(
    "support_ap_gain",
    heading=("support", "AP gain"),
    axis="Average precision of the support, gain over chance, test",
    tables=("terminal", "paper"),
    bounded=True,
    source="the correction for chance of Cohen 1960",
)
def support_ap_gain(e: Evaluation) -> float | None:
    """(support_ap - support_ap_chance) / (1 - support_ap_chance): 0 is chance, negative below it, 1 the true support. Empty where
    support_ap is, or where chance is 1."""
    return gain(support_ap(e), support_ap_chance(e))


@score(
    "support_f1_gain",
    heading=("support", "F1 gain"),
    axis="F1 score of the support, gain over chance, test",
    bounded=True,
    source="the correction for chance of Cohen 1960",
)
def support_f1_gain(e: Evaluation) -> float | None:
    """(support_f1 - support_f1_chance) / (1 - support_f1_chance). Empty where support_f1 is, or where chance is 1."""
    return gain(support_f1(e), support_f1_chance(e))


OF_SUPPORT = (
    "support_ap",
    "support_f1",
    "support_ap_chance",
    "support_f1_chance",
    "support_ap_gain",
    "support_f1_gain",
)


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


def matching(chosen_by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and estimated latents, in pairs, by the one-to-one assignment of largest sum of |correlations| (n_latents, n_estimated)."""
    return linear_sum_assignment(np.abs(chosen_by), maximize=True)


def _matched(
    correlation: Callable[[Encoded], np.ndarray], validation: Encoded, test: Encoded
) -> tuple[np.ndarray, dict[int, int]]:
    """|correlation| on test of each true latent and its match, (n_latents,), and the match: true to estimated index."""
    return absolute(correlation(validation), correlation(test))


def absolute(chosen_by: np.ndarray, scored_by: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """Matched absolute correlations of each true latent (n_latents,) and the match, from those of validation and test.

    Correlations are (n_latents, n_estimated); the match is true to estimated index and is found on validation. A correlation of exactly 0
    on either split means a constant: such a pair counts 0 and is no match.
    """
    chosen_by, scored_by = np.abs(chosen_by), np.abs(scored_by)
    latents, estimates = matching(chosen_by)
    alive = (chosen_by[latents, estimates] > 0) & (scored_by[latents, estimates] > 0)
    latents, estimates = latents[alive], estimates[alive]
    per_latent = np.zeros(len(chosen_by))
    per_latent[latents] = np.minimum(scored_by[latents, estimates], 1)  # rounding can exceed 1
    return per_latent, dict(zip(latents.tolist(), estimates.tolist(), strict=True))


def pearson_of(split: Encoded) -> np.ndarray:
    """Correlations (n_latents, n_estimated) of a checked split."""
    return _correlations(split, lambda columns: columns)


def spearman_of(split: Encoded) -> np.ndarray:
    """Rank correlations (n_latents, n_estimated) of a checked split."""
    return _correlations(split, ranked)


def ranked(columns: np.ndarray) -> np.ndarray:
    """The ranks in each column, ties by their mean."""
    # Ranking rows that lie together in memory takes a fraction of the time of ranking columns.
    return rankdata(np.ascontiguousarray(columns.T), axis=1).T


def spearman_within_of(split: Encoded) -> np.ndarray:
    """Signed: an estimate that follows a latent upwards in one domain and downwards in another is no function of it."""
    return np.mean([spearman_of(part) for part in by_domain(split)], axis=0)


def by_domain(split: Encoded) -> list[Encoded]:
    """The parts of a checked split, one for each domain that has enough points."""
    members = [np.flatnonzero(split.domains == domain) for domain in np.unique(split.domains)]
    parts = [Encoded(split.z[rows], split.z_hat[rows], split.domains[rows], split.rounding) for rows in members]
    return [part for part in parts if len(part.z) >= FEWEST_IN_DOMAIN]


def _correlations(split: Encoded, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Pearson correlations (n_latents, n_estimated) of the transformed columns; exactly 0 where one is constant."""
    z, z_hat = unit_columns(split, transform)
    return z.T @ z_hat


def unit_columns(split: Encoded, transform: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The transformed columns of true and of estimated latents, centred and of length 1; exactly 0 where one is constant."""
    columns = np.hstack([split.z, split.z_hat])
    constant = np.hstack(constants(split))
    columns = transform(columns)
    centred = np.where(constant, 0, columns - columns.mean(axis=0))
    unit = centred / np.where(constant, 1, np.linalg.norm(centred, axis=0))
    n_latents = split.z.shape[1]
    return unit[:, :n_latents], unit[:, n_latents:]


def constants(split: Encoded) -> tuple[np.ndarray, np.ndarray]:
    """Which true latents (n_latents,) and which estimates (n_estimated,) of a checked split are constant but for rounding."""
    return is_constant(split.z, _rounding(split)[0]), is_constant(split.z_hat, _rounding(split)[1])


def _rounding(split: Encoded) -> tuple[float, float]:
    assert split.rounding is not None, "only a split that was checked is scored"
    return split.rounding


# --- supports


def matched_by_support(supports: Supports) -> dict[int, int]:
    """The estimated latent of each true one, by the one-to-one assignment with the largest sum of correlations over observed variables.

    Correlated are the strengths of an estimate and the true support of a latent. An estimate whose strengths are all equal is no match.
    """
    true, strength = supports.true.astype(float), supports.strength.astype(float)
    units = []
    for columns in (true, strength):
        centred = np.where(is_constant(columns), 0, columns - columns.mean(axis=0))
        units.append(centred / np.maximum(np.linalg.norm(centred, axis=0), 1e-300))
    latents, estimates = linear_sum_assignment(units[0].T @ units[1], maximize=True)
    alive = units[1].any(axis=0)
    return {int(latent): int(e) for latent, e in zip(latents, estimates, strict=True) if alive[e]}


def _matched_strength(supports: Supports, match: dict[int, int]) -> np.ndarray:
    """The strength of the edges of each true latent's match, (n_observed, n_latents), 0 where it has none."""
    strength = np.zeros(supports.true.shape)
    for latent, estimate in match.items():
        strength[:, latent] = supports.strength[:, estimate]
    return strength


def average_precisions(true: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """The average precision of each row of `strength` (n_rows, n_entries), of which those where `true` (n_entries,) are edges.

    An edge's precision is that of all entries no weaker than it. That is scikit-learn's average_precision_score, of many rows at once.
    """
    n_edges = rankdata(-strength[:, true], method="max", axis=1)
    n_entries = rankdata(-strength, method="max", axis=1)[:, true]
    return (n_edges / n_entries).mean(axis=1)


def expected_average_precision(true: np.ndarray, strength: np.ndarray, matched: np.ndarray) -> float:
    """The mean average precision over all ways to deal the strengths of the matched entries to these entries.

    true, strength and matched (boolean) are (n_entries,); strengths are at least 0, and 0 where `matched` is false.

    Average precision is the sum over ties, from the strongest, of precision times the part of the edges that lie in the tie. Two
    different matched entries are both edges with probability q = R (R - 1) / (N (N - 1)), one with p = R / N, of R edges in N
    entries. So a tie of g entries, the last at rank n, has g p + g (n - 1) q true positives times those up to its end, on average
    (without ties, Bestgen 2015). Last come all entries of strength 0, of which precision is the density of the support.
    """
    n_edges, n_matched = int(true.sum()), int(matched.sum())
    found = int(true[matched].sum())
    p = found / max(n_matched, 1)
    q = p * (found - 1) / max(n_matched - 1, 1)
    _, sizes = np.unique(-strength[strength > 0], return_counts=True)
    ends = np.cumsum(sizes)
    n_above = int(sizes.sum())
    above = float((sizes * (p + (ends - 1) * q) / ends).sum())
    return above / n_edges + (n_edges - n_above * p) / len(true)


def expected_f1(true: np.ndarray, called: np.ndarray, matched: np.ndarray) -> float:
    """The mean F1 score over all ways to call as many matched entries edges as `called` does; all (n_entries,), boolean.

    F1 is twice the true positives over the entries called edges plus the edges: linear in what is random.
    """
    n_called = int(called.sum())
    hit_rate = float(true[matched].mean()) if matched.any() else 0.0
    return 2 * n_called * hit_rate / (n_called + int(true.sum()))


def _matched_entries(e: Evaluation) -> np.ndarray:
    """Which entries of the flattened support are of a latent that has a match, (n_observed * n_latents,)."""
    assert e.supports is not None, "only a support that is known is scored"
    n_observed, n_latents = e.supports.true.shape
    return np.tile(np.isin(np.arange(n_latents), list(e.estimate_of)), n_observed)


def gain(value: float | None, chance: float | None) -> float | None:
    """The part of what is left above chance that was reached."""
    return None if value is None or chance is None or chance >= 1 else (value - chance) / (1 - chance)


# --- probes


def _kernel_r2(validation: Encoded, test: Encoded) -> float:
    predicted = kernel_predictions(validation, test)
    return 0.0 if predicted is None else float(r2_of(test.z, predicted, test).mean())


def kernel_predictions(validation: Encoded, test: Encoded) -> np.ndarray | None:
    """What the probe of r2_block predicts of `z` on test, (n_samples, n_latents), from checked splits; None if no estimate varies."""
    varies = ~is_constant(validation.z_hat, _rounding(validation)[1])
    if not varies.any():
        return None
    fitted = validation.z_hat[:, varies]
    inputs, inputs_test = (normal_scores(fitted, split.z_hat[:, varies]) for split in (validation, test))
    rows = _spread_over_domains(validation.domains, KERNEL_CHOICE_POINTS)
    bandwidth, ridges = _chosen_kernel(inputs[rows], validation.z[rows])
    rows = _spread_over_domains(validation.domains, KERNEL_POINTS)
    inputs, targets = inputs[rows], validation.z[rows]
    mean = targets.mean(axis=0)
    gram, weights = _gaussian_kernel(inputs, inputs, bandwidth), np.empty_like(targets)
    for ridge in np.unique(ridges):
        np.fill_diagonal(gram, 1 + ridge)
        factor = cho_factor(gram, check_finite=False)
        latents = ridges == ridge
        weights[:, latents] = cho_solve(factor, (targets - mean)[:, latents], check_finite=False)
    return _gaussian_kernel(inputs_test, inputs, bandwidth) @ weights + mean


def _spread_over_domains(domains: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` points, of every domain its share, in whatever order the points come."""
    size = min(len(domains), most)
    return np.argsort(domains, kind="stable")[np.arange(size) * len(domains) // size]


def normal_scores(fitted: np.ndarray, applied: np.ndarray) -> np.ndarray:
    """Normal scores of `applied` (n_samples, n_columns) by the ranks among `fitted` (van der Waerden 1952).

    The score of a point of `fitted` is the normal quantile of rank / (n + 1); ties share the mean of their ranks, and a point between
    two others lies half a rank above the lower one. An increasing map of a column changes no score, a decreasing one their sign.
    """
    columns = []
    for own, values in zip(np.sort(fitted, axis=0).T, applied.T, strict=True):
        n_below, n_up_to = (np.searchsorted(own, values, side) for side in ("left", "right"))
        columns.append(ndtri((n_below + n_up_to + 1) / (2 * (len(own) + 1))))
    return np.stack(columns, axis=1)


def _chosen_kernel(inputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """The squared bandwidth, and the ridge of each column of `targets`, of least leave-one-out error (n_columns,).

    A left-out residual is that of the fit to all points, over one less the leverage: with weights c = (K + ridge I)^-1 y it is
    c_i / (K + ridge I)^-1_ii, from one eigendecomposition for all ridges (Rifkin & Lippert 2007). A bandwidth is judged by its mean
    error over the columns, each in parts of the column's variance.
    """
    spread = targets.std(axis=0)
    unit = (targets - targets.mean(axis=0)) / np.where(spread > 0, spread, 1)
    errors = np.empty((len(KERNEL_BANDWIDTHS), len(KERNEL_RIDGES), unit.shape[1]))
    for place, bandwidth in enumerate(KERNEL_BANDWIDTHS):
        values, vectors = eigh(_gaussian_kernel(inputs, inputs, bandwidth), driver="evd", check_finite=False)
        shrunk = 1 / (np.maximum(values, 0) + np.array(KERNEL_RIDGES)[:, None])  # (n_ridges, n_points)
        weights = vectors @ (shrunk[..., None] * (vectors.T @ unit))  # (n_ridges, n_points, n_columns)
        diagonal = shrunk @ (vectors**2).T
        errors[place] = ((weights / diagonal[..., None]) ** 2).mean(axis=1)
    best = int(errors.min(axis=1).mean(axis=1).argmin())
    return KERNEL_BANDWIDTHS[best], np.array(KERNEL_RIDGES)[errors[best].argmin(axis=0)]


def r2_of(truth: np.ndarray, predicted: np.ndarray, split: Encoded) -> np.ndarray:
    """(n_columns,) of true latents of `split`; 0 where the truth is constant, whose R^2 is undefined."""
    constant = is_constant(truth, _rounding(split)[0])
    total = np.where(constant, 1, ((truth - truth.mean(axis=0)) ** 2).sum(axis=0))
    return np.where(constant, 0, 1 - ((truth - predicted) ** 2).sum(axis=0) / total)


def standardised(validation: Encoded, test: Encoded) -> tuple[np.ndarray, np.ndarray]:
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


def ridge_predictions(inputs: np.ndarray, targets: np.ndarray, inputs_test: np.ndarray, ridge: float) -> np.ndarray:
    """Predictions on test of least squares with an intercept and a penalty `n_samples * ridge * |weights|^2`."""
    centre, mean = inputs.mean(axis=0), targets.mean(axis=0)
    centred = inputs - centre
    gram = centred.T @ centred / len(inputs) + ridge * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (targets - mean) / len(inputs))
    return (inputs_test - centre) @ weights + mean


def _gaussian_kernel(left: np.ndarray, right: np.ndarray, bandwidth: float) -> np.ndarray:
    """exp(-d^2 / (2 s^2)), s^2 = 2 n_columns * bandwidth: of two standardised points, 2 n_columns is the mean squared distance."""
    exponent = left @ right.T
    exponent -= (left**2).sum(axis=1)[:, None] / 2
    exponent -= (right**2).sum(axis=1) / 2
    exponent /= 2 * left.shape[1] * bandwidth
    return np.exp(np.minimum(exponent, 0, out=exponent), out=exponent)
