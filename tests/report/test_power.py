import math

import numpy as np
import pytest
from scipy import stats

from bench.report.power import needed_seeds, power


@pytest.mark.parametrize(("size", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_seeds_needed_are_those_of_the_published_tables(size, n):
    """G*Power 3 for the difference of two dependent means: two-sided 5 %, power 0.8, small, medium and large effects of Cohen."""
    assert needed_seeds(size, 1.0) == n
    assert needed_seeds(0.01 * size, 0.01) == n  # whatever the unit
    assert power(n, size) >= 0.8 > power(n - 1, size)


def test_the_power_is_how_often_a_simulated_study_finds_the_effect():
    rng = np.random.default_rng(0)
    n = int(needed_seeds(0.03, 0.05))
    differences = rng.normal(0.03, 0.05, size=(20_000, n))
    found = (stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(power(n, 0.6), abs=0.01)  # three standard errors
    assert found >= 0.79


def test_the_larger_an_effect_the_fewer_seeds_it_takes():
    found = [needed_seeds(size, 1.0) for size in np.geomspace(1e-3, 1e3, 61)]
    assert found == sorted(found, reverse=True) and found[-1] == 2


def test_no_number_of_seeds_shows_what_is_not_there_and_two_show_what_never_varies():
    assert needed_seeds(0.0, 0.1) == needed_seeds(-0.02, 0.1) == math.inf
    assert needed_seeds(0.02, 0.0) == needed_seeds(0.02, 1e-18) == 2
    assert math.isnan(needed_seeds(math.nan, 0.1)) and math.isnan(needed_seeds(0.1, math.nan))


def test_an_effect_of_next_to_nothing_takes_as_many_seeds_as_the_normal_approximation_says():
    normal = ((stats.norm.isf(0.025) + stats.norm.ppf(0.8)) / 1e-3) ** 2
    assert needed_seeds(1e-3, 1.0) == pytest.approx(normal, rel=1e-5)
