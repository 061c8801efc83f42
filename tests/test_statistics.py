import numpy as np
import pytest
from scipy import stats

from bench.statistics import mean_interval, paired_difference


def test_the_interval_is_scipys_t_interval():
    scores = np.random.default_rng(0).normal(size=(10, 3))
    mean, low, high = mean_interval(scores, level=0.9)
    expected = stats.t.interval(0.9, 9, loc=scores.mean(0), scale=stats.sem(scores))
    np.testing.assert_allclose([mean, low, high], [scores.mean(0), *expected])


def test_a_missing_seed_is_left_out():
    scores = np.random.default_rng(0).normal(size=8)
    with_gap = np.insert(scores, 3, np.nan)
    np.testing.assert_allclose(mean_interval(with_gap), mean_interval(scores))


def test_one_seed_has_a_mean_and_no_interval_and_none_has_neither():
    mean, low, high = mean_interval(np.array([[0.7, np.nan], [np.nan, np.nan]]))
    assert mean[0] == 0.7 and np.isnan([mean[1], *low, *high]).all()


def test_a_paired_interval_excludes_zero_exactly_when_the_paired_t_test_rejects():
    rng = np.random.default_rng(1)
    for shift in np.linspace(-1, 1, 21):
        a, b = rng.normal(size=(2, 10)) + [[shift], [0]]
        mean, low, high = paired_difference(a, b)
        assert mean == pytest.approx((a - b).mean())
        assert (low > 0 or high < 0) == (stats.ttest_rel(a, b).pvalue < 0.05)


def test_a_pair_with_a_gap_is_dropped():
    a, b = np.array([1.0, 2.0, np.nan, 4.0]), np.array([0.5, np.nan, 1.0, 3.0])
    assert paired_difference(a, b)[0] == pytest.approx(0.75)


def test_pairs_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="matched vectors"):
        paired_difference(np.zeros(3), np.zeros(4))


def test_the_interval_covers_at_its_level():
    scores = np.random.default_rng(2).normal(size=(10, 4000))
    _, low, high = mean_interval(scores)
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(0.95, abs=0.015)
