"""Means over data seeds with confidence intervals: arrays in, arrays out. Tables and figures only print these.

The seeds are the first axis; a NaN is a seed without a score. Both intervals are Student's t intervals: exact if the
scores (the differences) of the seeds are independent and normal, and good approximations unless a few seeds dominate.
They describe the variation over data seeds, hence what to expect of a new data set from the same generator.
"""

from __future__ import annotations

import numpy as np
from scipy import stats


def mean_interval(scores: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lower and upper end of its t interval over seeds, each (...), of `scores` (n_seeds, ...).

    A NaN entry is left out. Without any entry all three are NaN; with a single one the ends are.
    """
    scores = np.asarray(scores, dtype=float)
    present = ~np.isnan(scores)
    n = present.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present, scores, 0.0).sum(axis=0) / n
        variance = np.where(present, (scores - mean) ** 2, 0.0).sum(axis=0) / (n - 1)
        half = stats.t.ppf((1 + level) / 2, n - 1) * np.sqrt(variance / n)
    half = np.where(n < 2, np.nan, half)
    return mean, mean - half, mean + half


def paired_difference(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of `a - b` and both ends of its t interval, for `a` and `b` (n_seeds,) matched by seed.

    A pair with a NaN is dropped. An interval that excludes 0 is a paired t test that rejects at 1 - `level`.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"a paired difference needs two matched vectors, not shapes {a.shape} and {b.shape}")
    mean, low, high = mean_interval(a - b, level)
    return float(mean), float(low), float(high)
