import re
import time
from pathlib import Path

import numpy as np
import pytest
import scikit_posthocs
from scipy import stats

from bench.scores import statistics
from bench.scores.statistics import mean_interval

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
POPULATIONS = {  # how to draw, and the mean
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "exponential": (lambda rng, size: rng.exponential(size=size), 1.0),
    "beta(9, 1)": (lambda rng, size: rng.beta(9, 1, size=size), 0.9),
    "lognormal": (lambda rng, size: rng.lognormal(size=size), np.exp(0.5)),
}


def scores(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_with_few_seeds_the_interval_and_its_p_are_those_of_student():
    values = scores(5, 3)
    found = mean_interval(values, level=0.9)
    expected = stats.t.interval(0.9, 4, loc=values.mean(0), scale=stats.sem(values))
    np.testing.assert_allclose(found[:3], [values.mean(0), *expected])
    np.testing.assert_allclose(found.p, stats.ttest_1samp(values, 0).pvalue)


def test_with_more_it_is_the_studentised_bootstrap_replicate_by_replicate():
    values = scores(9, 1)
    found = mean_interval(values, replicates=300)
    t = []
    for counts in statistics.resamples(9, 300).astype(int):
        sample = np.repeat(values[:, 0], counts)
        t.append((sample.mean() - values.mean()) / max(stats.sem(sample), 0.3 * stats.sem(values)[0]))
    low, high = np.quantile(t, [0.025, 0.975])
    error = stats.sem(values)[0]
    np.testing.assert_allclose([found.low[0], found.high[0]], values.mean() - np.array([high, low]) * error)


def test_many_intervals_are_resampled_less_often_and_hardly_differ():
    values = np.random.default_rng(0).normal(0.8, 0.05, size=(12, 1001))
    many, few = mean_interval(values), mean_interval(values[:, :1000])
    often = mean_interval(values[:, 1000:])
    np.testing.assert_array_equal(few.low[:50], mean_interval(values[:, :50]).low)
    assert many.low[1000] != often.low[0] and many.low[1000] == pytest.approx(often.low[0], abs=0.005)
    # A quantile of 2,000 resamples scatters by a twentieth of the interval's half.
    assert np.abs((many.low[:1000] - few.low) / (few.mean - few.low)).mean() < 0.05


def test_one_outlier_among_ten_seeds_leaves_an_interval_of_the_size_of_the_scores():
    found = mean_interval(np.array([[0.97, 0.98, 0.97, 0.96, 0.97, 0.98, 0.97, 0.97, 0.96, 0.7]]).T)
    assert 0.7 < found.low[0] < 0.9 and 0.97 < found.high[0] < 1


def test_seeds_are_resampled_jointly_so_that_a_method_gets_the_same_interval_alone_and_among_others():
    values = scores(4, 10, 6)
    for method in range(4):
        np.testing.assert_array_equal(np.stack(mean_interval(values))[:, method], mean_interval(values[method]))


def test_a_missing_seed_is_left_out():
    values = scores(5, 2)
    np.testing.assert_allclose(mean_interval(np.insert(values, 3, np.nan, axis=0)), mean_interval(values))
    some = np.insert(scores(12, 1), 3, np.nan, axis=0)  # resampled with the gap: as many scores on average
    with_gap, without = mean_interval(some), mean_interval(np.delete(some, 3, axis=0))
    np.testing.assert_allclose(with_gap.mean, without.mean)
    np.testing.assert_allclose(
        np.subtract(with_gap.high, with_gap.low), np.subtract(without.high, without.low), rtol=0.1
    )


def test_one_seed_has_a_mean_and_no_interval_and_none_has_neither():
    found = mean_interval(np.array([[0.7, np.nan], [np.nan, np.nan]]))
    assert found.mean[0] == 0.7 and np.isnan([found.mean[1], *found.low, *found.high, *found.p]).all()


def test_equal_scores_have_an_interval_that_is_a_point():
    found = mean_interval(np.full((10, 1), 0.1))
    assert found.low == found.mean == found.high and found.p == 0
    assert mean_interval(np.zeros((10, 1))).p == 1


def test_the_interval_moves_and_scales_with_the_scores():
    values = scores(10, 4)
    ends, moved = np.stack(mean_interval(values)[:3]), np.stack(mean_interval(2 - 3 * values)[:3])
    np.testing.assert_allclose(moved, 2 - 3 * ends[[0, 2, 1]])


def test_the_interval_excludes_zero_when_p_is_below_five_percent():
    values = scores(10, 300) + np.linspace(-1, 1, 300)
    found = mean_interval(values)
    decided = (
        np.abs(found.p - 0.05) > 0.001
    )  # at the border, a quantile between two replicates and their count disagree
    assert (((found.low > 0) | (found.high < 0)) == (found.p < 0.05))[decided].all()


@pytest.mark.parametrize("population", POPULATIONS)
def test_intervals_cover_as_the_documentation_says(population):
    """10 seeds; 8,000 data sets, whose fraction has a standard error of 0.003."""
    row = re.search(rf"^\| {re.escape(population)} \| ([\d.]+) \| ([\d.]+) \|", PAGE.read_text(), re.M)
    draw, mean = POPULATIONS[population]
    values = draw(np.random.default_rng(0), (10, 8000))
    found = mean_interval(values, replicates=2000)
    half = stats.t.ppf(0.975, 9) * stats.sem(values)
    covered = np.mean((found.low <= mean) & (mean <= found.high)), np.mean(np.abs(values.mean(0) - mean) <= half)
    assert covered == pytest.approx([float(row[1]), float(row[2])], abs=0.011)


def local_optima(rng, size):
    return np.where(rng.random(size) < 0.1, 0.75, rng.normal(0.97, 0.01, size)).clip(0, 1)


# The mean of the second is the integral of 1 - min(0.05 exp(x), 1) over the normal density: with a = -log 0.05, the expectation of
# the part below the limit is exp(1/2) Phi(a - 1), the rest is the probability 1 - Phi(a).
LIMIT = -np.log(0.05)
IN_RANGE = {  # how to draw scores in [0, 1], and the mean
    "normal(0.8, 0.03)": (lambda rng, size: rng.normal(0.8, 0.03, size), 0.8),
    "near the ceiling": (
        lambda rng, size: 1 - np.minimum(0.05 * rng.lognormal(size=size), 1),
        stats.norm.cdf(LIMIT) - 0.05 * np.exp(0.5) * stats.norm.cdf(LIMIT - 1),
    ),
    "beta(9, 1)": (lambda rng, size: rng.beta(9, 1, size=size), 0.9),
    "local optima": (local_optima, 0.9 * 0.97 + 0.1 * 0.75),
}


@pytest.mark.parametrize("n_seeds", [10, 5, 3])
@pytest.mark.parametrize("population", IN_RANGE)
def test_intervals_of_scores_in_a_range_cover_and_are_as_wide_as_the_documentation_says(population, n_seeds):
    """20,000 data sets: their fraction has a standard error of at most 0.0035; the documented digits are rounded to 0.005."""
    row = re.search(rf"^\| {re.escape(population)} \| (.+\)) \|$", PAGE.read_text(), re.M)
    entry = dict(zip([10, 5, 3], row[1].split(" | "), strict=True))[n_seeds]
    coverage, width = map(float, re.fullmatch(r"([\d.]+) \(([\d.]+)\)", entry).groups())
    draw, mean = IN_RANGE[population]
    found = mean_interval(draw(np.random.default_rng(0), (n_seeds, 20_000)), replicates=2000, bounds=(0, 1))
    assert np.mean((found.low <= mean) & (mean <= found.high)) == pytest.approx(coverage, abs=0.015)
    assert np.median(found.high - found.low) == pytest.approx(width, rel=0.1)


@pytest.mark.parametrize("n_seeds", [2, 3, 7, 8, 10])
@pytest.mark.parametrize("bounds", [(0, 1), (-np.inf, 1), (0, np.inf), (-2, 3)])
def test_no_interval_leaves_the_range_of_the_scores(n_seeds, bounds):
    rng = np.random.default_rng(0)
    least, greatest = np.maximum(bounds[0], -5), np.minimum(bounds[1], 5)
    values = least + (greatest - least) * rng.beta([[0.02], [0.2], [2]], [[0.02], [0.02], [0.1]], (n_seeds, 3, 500))
    values = values.reshape(n_seeds, -1)  # many at the very ends
    found = mean_interval(values, replicates=300, bounds=bounds)
    assert (found.low >= bounds[0]).all() and (found.high <= bounds[1]).all()
    assert (found.low <= found.mean).all() and (found.mean <= found.high).all()
    assert (found.low < found.high)[np.ptp(values, axis=0) > 1e-6].all()


def test_with_few_seeds_the_interval_of_scores_in_a_range_is_students_of_the_delta_method():
    values = np.array([0.7, 0.9, 0.95, 0.99])
    found = mean_interval(2 * values[:, None] - 1, bounds=(-1, 1))
    slope = (statistics.logit(values.mean() + 1e-6) - statistics.logit(values.mean() - 1e-6)) / 2e-6
    ends = statistics.logit(values.mean()) + stats.t.ppf([0.025, 0.975], 3) * stats.sem(values) * slope
    np.testing.assert_allclose(np.ravel(found[1:3]), 2 / (1 + np.exp(-ends)) - 1)


def test_the_range_leaves_intervals_alone_that_are_far_from_its_ends():
    values = scores(10, 20) / 100 + 0.5
    np.testing.assert_array_equal(mean_interval(values, bounds=(0, 1)), mean_interval(values))
    np.testing.assert_allclose(mean_interval(values[:5], bounds=(0, 1)), mean_interval(values[:5]), rtol=1e-3)


def test_ten_thousand_replicates_of_the_grid_take_about_half_a_second():
    values = scores(6, 10, 27)
    times = []
    for _ in range(3):
        started = time.process_time()
        mean_interval(values)
        times.append(time.process_time() - started)
    assert min(times) < 1.5  # 0.3 s on an idle core


def test_the_interquartile_mean_is_scipys():
    for n in (3, 4, 7, 10, 27):
        values = scores(n, 5)
        np.testing.assert_allclose(statistics.interquartile_mean(values), stats.trim_mean(values, 0.25))
    values = scores(3, 10, 9)
    together = statistics.interquartile_mean(values, axis=(-2, -1))
    np.testing.assert_allclose(together, [stats.trim_mean(each.ravel(), 0.25) for each in values])
    assert statistics.interquartile_mean(np.array([[1.0], [np.nan], [3.0]]))[0] == 2


def test_wilcoxon_with_holm_is_that_of_scikit_posthocs():
    values = scores(4, 12) + np.arange(4)[:, None]
    expected = scikit_posthocs.posthoc_wilcoxon(values, p_adjust="holm").to_numpy()
    pairs = np.triu_indices(4, 1)
    p = statistics.wilcoxon(values[pairs[0]].T, values[pairs[1]].T)
    np.testing.assert_allclose(statistics.holm(p), expected[pairs])


def test_wilcoxon_of_equal_scores_is_one_and_a_gap_is_dropped():
    a, b = scores(8, 1), scores(8, 1, seed=1)
    assert statistics.wilcoxon(a, a) == 1
    gap = np.insert(a, 2, np.nan, axis=0)
    assert statistics.wilcoxon(gap, np.insert(b, 2, 0.0, axis=0)) == stats.wilcoxon(a[:, 0], b[:, 0]).pvalue
    assert np.isnan(statistics.wilcoxon(a * np.nan, b)).all()


def test_holm_by_hand_and_a_nan_is_no_member():
    np.testing.assert_allclose(statistics.holm(np.array([0.01, np.nan, 0.04, 0.03])), [0.03, np.nan, 0.06, 0.06])
    assert statistics.holm(np.array([0.6, 0.7])).max() <= 1


def test_the_probability_of_improvement_of_normal_scores_is_its_closed_form():
    a, b = scores(20_000, 1) + 0.5, scores(20_000, 1, seed=1)
    assert statistics.probability_of_improvement(a, b)[0] == pytest.approx(stats.norm.cdf(0.5 / np.sqrt(2)), abs=0.01)
    assert statistics.probability_of_improvement(a, a)[0] == 0.5


def test_average_ranks_are_the_two_tests_of_scipy_and_scikit_posthocs():
    values = scores(5, 10) + 0.8 * np.arange(5)[:, None]
    found = statistics.average_ranks(values)
    np.testing.assert_allclose(found.ranks, stats.rankdata(-values, axis=0).mean(axis=1))
    assert found.p == stats.friedmanchisquare(*values).pvalue and found.n_blocks == 10
    nemenyi = scikit_posthocs.posthoc_nemenyi_friedman(values.T).to_numpy()
    apart = np.abs(found.ranks[:, None] - found.ranks) > found.critical_difference
    assert (apart == (nemenyi < 0.05)).all() and apart.any() and not apart.all()
    # Demsar 2006, table 5: q for 5 methods is 2.728.
    assert found.critical_difference == pytest.approx(2.728 * np.sqrt(5 * 6 / 60), abs=1e-3)


def test_a_block_with_a_gap_is_left_out_of_the_ranks():
    values = scores(3, 8)
    gap = np.insert(values, 4, [1.0, np.nan, 2.0], axis=1)
    assert statistics.average_ranks(gap).n_blocks == 8
    np.testing.assert_array_equal(statistics.average_ranks(gap).ranks, statistics.average_ranks(values).ranks)
    assert np.isnan(statistics.average_ranks(values[:, :0]).ranks).all()


def test_a_performance_profile_is_one_minus_the_distribution_function_and_a_failure_is_above_nothing():
    values = np.array([[[0.2, 0.6], [0.8, np.nan]]])
    np.testing.assert_array_equal(statistics.performance_profile(values, [-1, 0.2, 0.5, 0.8]), [[0.75, 0.5, 0.5, 0.0]])


def test_the_logit_stretches_the_ceiling_and_ends_at_a_thousandth():
    np.testing.assert_allclose(statistics.logit(np.array([0.5, 0.9])), [0, np.log(9)])
    np.testing.assert_allclose(statistics.logit(np.array([1.0, -0.2])), [np.log(999), -np.log(999)])
