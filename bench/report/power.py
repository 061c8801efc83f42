"""How many data seeds it takes to see an effect."""

from __future__ import annotations

import math

from scipy import optimize, stats

POWER = 0.8
LEVEL = 0.05


def power(n: float, size: float, level: float = LEVEL) -> float:
    """The power of a two-sided paired t-test of `n` pairs, whose differences have a mean of `size` standard deviations.

    With n - 1 degrees of freedom and c the quantile of Student's t at 1 - level / 2, this is P(|T| > c) for a noncentral t of
    noncentrality size * sqrt(n) (Cohen 1988, section 2.2).
    """
    critical = stats.t.isf(level / 2, n - 1)
    shift = size * math.sqrt(n)
    # The lower tail is the upper one of -T: computed as a lower one, scipy gives NaN where it is next to nothing.
    return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.sf(critical, n - 1, -shift))


def needed_seeds(mean: float, std: float, aim: float = POWER, level: float = LEVEL) -> float:
    """The fewest data seeds with which a two-sided paired t-test at `level` has the power `aim`, at least 2.

    `mean` and `std` are those of the paired differences over data seeds, in the unit of the score, and taken for the true ones.
    Infinity where the mean is not above 0, since then no number of seeds shows a gain; NaN where one of the two is not known.
    """
    if math.isnan(mean) or math.isnan(std):
        return math.nan
    if mean <= 0:
        return math.inf
    if std <= 1e-12 * mean:  # the rounding of equal differences
        return 2
    size = mean / std
    if power(2, size, level) >= aim:
        return 2
    # The normal approximation asks for fewer seeds than Student's t does, by about two.
    normal = ((stats.norm.isf(level / 2) + stats.norm.ppf(aim)) / size) ** 2
    return math.ceil(optimize.brentq(lambda n: power(n, size, level) - aim, 2, 2 * normal + 10))
