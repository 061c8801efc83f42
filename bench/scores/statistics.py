"""Statistics of scores: arrays in, arrays out. Tables and figures only print these.

Scores are (..., n_seeds, n_cells), as of methods x seeds x cells; seeds are matched between methods, and a NaN is a trial without a
score. The unit is the data seed, always: what is resampled, ranked and paired are data seeds, so that the results speak of new data
sets from the same generator. Several cells of one seed are not independent, and are never counted as more data.

docs/statistics.md says how each is defined, from where, and how well the intervals cover.
"""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import numpy as np
from scipy import special, stats

LEVEL = 0.95
REPLICATES = 10_000
MANY, FEWER_REPLICATES = (
    1000,
    2000,
)  # intervals at once, as of a run with hundreds of cells, and how often each of these is resampled
FEWEST_TO_RESAMPLE = 8  # seeds; with fewer, resampling widens intervals of normal scores by a third and more
COLUMNS_AT_A_TIME = 500  # columns that are resampled at a time: 40 MB an array
LEAST_ERROR = 0.3  # of a resample's standard error, relative to that of the scores; see docs/statistics.md
LOGIT_END = 1e-3


class Interval(NamedTuple):
    """A mean over seeds, the ends of its interval, and the two-sided p of the mean being 0; NaN where there are too few seeds."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


# --- means


def mean_interval(
    scores: np.ndarray,
    level: float = LEVEL,
    replicates: int | None = None,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """Mean over seeds with its interval, each (..., n_cells), of `scores` (..., n_seeds, n_cells).

    A studentised bootstrap (Efron 1979, Hall 1988) that resamples the seeds once for all methods and cells, `replicates` times: if not
    given, `REPLICATES`, or `FEWER_REPLICATES` where there are more than `MANY` intervals. Below
    `FEWEST_TO_RESAMPLE` scores it is Student's t interval. A NaN is left out: without any score all is NaN, with one all but the
    mean. Where all scores are equal the interval is a point.

    `bounds` are the least and the greatest value that a score can have: the interval ends there at the latest. Student's t interval is
    computed on the logit scale where both are finite (delta method). `p` does not know the bounds.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim < 2:
        raise ValueError(f"scores must be (..., n_seeds, n_cells), not of shape {scores.shape}")
    n_seeds = scores.shape[-2]
    columns = np.moveaxis(scores, -2, 0).reshape(n_seeds, int(np.prod(scores.shape[:-2] + scores.shape[-1:])))
    present = ~np.isnan(columns)
    n = present.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present, columns, 0.0).sum(axis=0) / n
        centred = np.where(present, columns - mean, 0.0)
        error = np.sqrt((centred**2).sum(axis=0) / (n - 1) / n)
        error = np.where(error <= 1e-12 * np.abs(mean), 0.0, error)  # the rounding of equal scores
        t = np.where(mean == 0, 0.0, mean / error)
        quantile = stats.t.ppf((1 + level) / 2, n - 1)
        ends = np.stack([-quantile, quantile])
        p = 2 * stats.t.sf(np.abs(t), n - 1)
    resampled = np.flatnonzero((n >= FEWEST_TO_RESAMPLE) & (error > 0))
    replicates = replicates or (REPLICATES if len(resampled) <= MANY else FEWER_REPLICATES)
    for start in range(0, len(resampled), COLUMNS_AT_A_TIME):
        chosen = resampled[start : start + COLUMNS_AT_A_TIME]
        values = _t_values(centred[:, chosen], present[:, chosen], error[chosen], resamples(n_seeds, replicates))
        ends[:, chosen], p[chosen] = _read(values, t[chosen], level)
    unknown = np.where(n < 2, np.nan, 0.0)
    low, high = mean - ends[1] * error, mean - ends[0] * error
    few = (n < FEWEST_TO_RESAMPLE) & (error > 0) & (mean > bounds[0]) & (mean < bounds[1])
    if np.isfinite(bounds).all() and few.any():
        low[few], high[few] = _on_the_logit_scale(mean[few], quantile[few] * error[few], *bounds)
    low, high = np.minimum(np.maximum(low, bounds[0]), mean), np.maximum(np.minimum(high, bounds[1]), mean)
    found = (mean, low + unknown, high + unknown, p + unknown)
    return Interval(*(each.reshape(scores.shape[:-2] + scores.shape[-1:]) for each in found))


def spread(scores: np.ndarray, bounds: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
    """Mean over seeds with the least and the greatest score in the place of an interval, and no p: of seeds that are no independent data.

    `scores` (..., n_seeds, n_cells), `bounds` and what is NaN are as in `mean_interval`.
    """
    scores = np.asarray(scores, dtype=float)
    present = ~np.isnan(scores)
    n = present.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present, scores, 0.0).sum(axis=-2) / n
    low = np.where(present, scores, np.inf).min(axis=-2, initial=np.inf)
    high = np.where(present, scores, -np.inf).max(axis=-2, initial=-np.inf)
    return Interval(mean, np.where(n < 2, np.nan, low), np.where(n < 2, np.nan, high), np.full(mean.shape, np.nan))


def _on_the_logit_scale(mean: np.ndarray, half: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    """The ends (2, n_columns) of intervals mean -+ `half` that are symmetric in log((s - lowest) / (highest - s)), by the delta method."""
    width = highest - lowest
    part = (mean - lowest) / width
    half = half / width / (part * (1 - part))
    return lowest + width * special.expit(special.logit(part) + np.stack([-half, half]))


@functools.lru_cache(maxsize=4)
def resamples(n_seeds: int, replicates: int) -> np.ndarray:
    """How often each replicate drew each seed, (replicates, n_seeds): the same whenever asked, so that reports repeat."""
    rng = np.random.default_rng(0)
    return rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=replicates).astype(float)


def _t_values(centred: np.ndarray, present: np.ndarray, error: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The t statistic of each resample, (n_columns, replicates), with a standard error of at least LEAST_ERROR * `error`.

    A resample that misses the one outlier has next to no variance: its t would widen the interval beyond any score. A resample
    of one score has none: NaN.
    """
    n = present.T.astype(float) @ weights.T if not present.all() else float(len(present))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = centred.T @ weights.T / n
        variance = (centred.T**2) @ weights.T / n - mean**2
        own = np.sqrt(np.maximum(variance, 0) / (n - 1))
        return mean / np.maximum(own, LEAST_ERROR * error[:, None])


def _read(values: np.ndarray, t: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles (2, n_columns) of `values` (n_columns, replicates), and the two-sided p of `t` (n_columns,) among them."""
    n = values.shape[1] - np.isnan(values).sum(axis=1)
    rows = np.arange(len(values))
    position = np.multiply.outer([(1 - level) / 2, (1 + level) / 2], n - 1)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, n - 1)
    part = position - below
    values.partition(np.unique([below, above]), axis=1)  # of all in order, as NaN at the end, no more is asked
    ends = values[rows, below] * (1 - part) + values[rows, above] * part
    tails = np.stack([(values >= t[:, None]).sum(axis=1), (values <= t[:, None]).sum(axis=1)])
    return ends, np.minimum(1, 2 * (1 + tails.min(axis=0)) / (n + 1))


def interval_name(n_seeds: int) -> str:
    """What kind of interval `mean_interval` gives for so many seeds, for captions."""
    return "studentised-bootstrap" if n_seeds >= FEWEST_TO_RESAMPLE else "Student-t"


def mean_along(scores: np.ndarray, axis: int) -> np.ndarray:
    """Mean along an axis, which stays, of what is no NaN; NaN where all is."""
    n = (~np.isnan(scores)).sum(axis=axis, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.nansum(scores, axis=axis, keepdims=True) / n


def interquartile_mean(scores: np.ndarray, axis: int | tuple[int, ...] = -2) -> np.ndarray:
    """Mean of the middle half along `axis`: a quarter of the scores, rounded down, is cut at each end (Agarwal et al. 2021)."""
    scores = np.asarray(scores, dtype=float)
    axes = (axis,) if isinstance(axis, int) else axis
    rest = np.moveaxis(scores, axes, range(len(axes)))
    ordered = np.sort(rest.reshape(-1, *rest.shape[len(axes) :]), axis=0)  # NaN at the end
    n = (~np.isnan(ordered)).sum(axis=0)
    cut = n // 4
    place = np.arange(len(ordered)).reshape(-1, *[1] * n.ndim)
    inside = (place >= cut) & (place < n - cut)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(inside, ordered, 0.0).sum(axis=0) / (n - 2 * cut)


def logit(scores: np.ndarray) -> np.ndarray:
    """log(s / (1 - s)), with s between 0.001 and 0.999: a step towards the ceiling of a bounded score counts more near it."""
    inside = np.clip(scores, LOGIT_END, 1 - LOGIT_END)
    return np.log(inside / (1 - inside))


# --- pairs


def wilcoxon(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two-sided p (..., n_cells) of the signed-rank test of `a - b`; 1 where all pairs are equal, NaN where there is none."""
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    columns = np.moveaxis(difference, -2, -1)
    p = np.full(columns.shape[:-1], np.nan)
    ordered = np.sort(np.abs(columns), axis=-1)
    # Those for which scipy has one method, in one call: no score is missing, no two differences are equal, and none is 0.
    is_plain = (
        ~np.isnan(columns).any(axis=-1) & (ordered[..., :1] > 0).all(axis=-1) & (np.diff(ordered) > 0).all(axis=-1)
    )
    if is_plain.any():
        p[is_plain] = stats.wilcoxon(columns[is_plain], axis=-1).pvalue
    for place in zip(*np.nonzero(~is_plain), strict=True):
        pairs = columns[place][~np.isnan(columns[place])]
        if len(pairs):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of ties and zeros, whose p scipy takes from the normal approximation
                p[place] = stats.wilcoxon(pairs).pvalue if pairs.any() else 1.0
    return p


def holm(p: np.ndarray) -> np.ndarray:
    """The p-values of one family, of any shape, adjusted to hold its error rate (Holm 1979). A NaN is no member."""
    p = np.asarray(p, dtype=float)
    flat = p.ravel()
    order = np.argsort(flat)[: (~np.isnan(flat)).sum()]
    adjusted = np.full(flat.shape, np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(flat[order] * np.arange(len(order), 0, -1)))
    return adjusted.reshape(p.shape)


def probability_of_improvement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How often `a` beats `b` on the same seed, a tie being half, (..., n_cells). A pair with a NaN is dropped."""
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    wins = np.where(np.isnan(difference), np.nan, (np.sign(difference) + 1) / 2)
    n = (~np.isnan(wins)).sum(axis=-2)
    with np.errstate(invalid="ignore"):
        return np.nansum(wins, axis=-2) / n


# --- many methods


class Ranks(NamedTuple):
    """Average ranks (n_methods,), 1 the best; how many blocks they are over; p of Friedman's test; the critical difference."""

    ranks: np.ndarray
    n_blocks: int
    p: float
    critical_difference: float


def average_ranks(scores: np.ndarray, alpha: float = 1 - LEVEL) -> Ranks:
    """Ranks of methods in blocks, `scores` (n_methods, n_blocks), higher better, ties sharing their mean rank.

    Two methods whose average ranks differ by more than the critical difference of Nemenyi differ at level `alpha` (Demsar 2006). A
    block must be independent of the others: a data seed. One with a NaN is left out.
    """
    scores = np.asarray(scores, dtype=float)
    scores = scores[:, ~np.isnan(scores).any(axis=0)]
    n_methods, n_blocks = scores.shape
    if n_blocks == 0 or n_methods < 2:
        return Ranks(np.full(n_methods, np.nan), n_blocks, np.nan, np.nan)
    ranks = stats.rankdata(-scores, axis=0).mean(axis=1)
    enough = n_methods >= 3 and n_blocks >= 2 and (np.ptp(scores, axis=0) > 0).any()
    p = float(stats.friedmanchisquare(*scores).pvalue) if enough else np.nan
    return Ranks(ranks, n_blocks, p, critical_difference(n_methods, n_blocks, alpha))


def critical_difference(n_methods: int, n_blocks: int, alpha: float = 1 - LEVEL) -> float:
    """The difference in average ranks from which on Nemenyi's test tells two methods apart: q sqrt(k (k + 1) / (6 n)) (Demsar 2006).

    q is the quantile of the studentised range with infinite degrees of freedom, divided by sqrt(2).
    """
    q = stats.studentized_range.ppf(1 - alpha, n_methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_blocks)))


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The fraction of trials that score above each threshold, (..., n_thresholds), of `scores` (..., n_seeds, n_cells).

    A NaN is a trial that failed: it is above no threshold (Agarwal et al. 2021).
    """
    scores = np.asarray(scores, dtype=float)
    runs = scores.reshape(*scores.shape[:-2], -1)
    return (runs[..., None, :] > np.asarray(thresholds, dtype=float)[:, None]).mean(axis=-1)
