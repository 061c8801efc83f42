"""How many data seeds it takes to see an effect."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

POWER = 0.8
LEVEL = 0.05


def power(n: ArrayLike, size: ArrayLike, level: float = LEVEL) -> np.ndarray:
    """The power of a two-sided paired t-test of `n` pairs, whose differences have a mean of `size` standard deviations.

    With n - 1 degrees of freedom and c the quantile of Student's t at 1 - level / 2, this is P(|T| > c) for a noncentral t of
    noncentrality size * sqrt(n) (Cohen 1988, section 2.2).
    """
    n = np.asarray(n, dtype=float)
    critical = stats.t.isf(level / 2, n - 1)
    shift = np.asarray(size) * np.sqrt(n)
    # The lower tail is the upper one of -T: computed as a lower one, scipy gives NaN where it is next to nothing.
    return stats.nct.sf(critical, n - 1, shift) + stats.nct.sf(critical, n - 1, -shift)


def needed_seeds(mean: ArrayLike, std: ArrayLike, aim: float = POWER, level: float = LEVEL) -> np.ndarray:
    """The fewest data seeds with which a two-sided paired t-test at `level` has the power `aim`, at least 2.

    `mean` and `std`, arrays of one shape or numbers, are those of the paired differences over data seeds, in the unit of the score, and taken
    for the true ones. Infinity where the mean is not above 0, since then no number of seeds shows a gain; NaN where one of the two is not known.
    """
    mean, std = np.broadcast_arrays(np.asarray(mean, dtype=float), np.asarray(std, dtype=float))
    found = np.where(np.isnan(mean) | np.isnan(std), np.nan, np.where(mean > 0, 2.0, np.inf))
    asked = (found == 2) & (std > 1e-12 * mean)  # not the rounding of equal differences
    size = mean[asked] / std[asked]
    # The normal approximation asks for fewer seeds than Student's t does, by about two.
    normal = ((stats.norm.isf(level / 2) + stats.norm.ppf(aim)) / size) ** 2
    too_few, enough = np.ones(size.shape), np.ceil(2 * normal + 10)
    while (enough - too_few > 1).any():
        middle = np.floor((too_few + enough) / 2)
        # Where the two have met, the middle is the lower one, which stays.
        shows = (power(np.maximum(middle, 2), size, level) >= aim) & (middle > too_few)
        too_few, enough = np.where(shows, too_few, middle), np.where(shows, middle, enough)
    found[asked] = enough
    return found
