"""Claims about `bench.scores.metrics`: invariances, closed forms, agreement with other code, mistakes it must not make."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import norm, rankdata, spearmanr
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import average_precision_score, f1_score, r2_score

from bench.scores import SCORES, metrics
from bench.scores.metrics import (
    Encoded,
    Evaluation,
    Supports,
    average_precisions,
    evaluate,
    matched_by_support,
    matched_spearman,
)

pytestmark = pytest.mark.filterwarnings("error")  # a warning on the way to a number is a bug

MCC = ("mcc_pearson", "mcc_spearman", "mcc_within")
R2 = ("r2_component", "r2_block", "r2_linear")
MONOTONE = (lambda x: x, lambda x: 3 * x - 7, lambda x: x**3, np.exp, np.tanh)


def encoded(z, z_hat, domains=None):
    return Encoded(z, z_hat, np.zeros(len(z), int) if domains is None else domains)


def splits(encode, n_samples=2000, n_latents=2, seed=0):
    """Two splits of standard normal latents, `encode(z, rng)` their estimates, one domain."""
    rng = np.random.default_rng(seed)
    draws = [rng.normal(size=(n_samples, n_latents)) for _ in range(2)]
    return [encoded(z, encode(z, rng)) for z in draws]


def noisy_splits(seed, n_samples=200, n_latents=3, n_estimated=4, n_domains=3):
    """Latents with domain-dependent means, estimates a noisy linear mixture of them: no score is special."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n_latents, n_estimated))
    means = rng.normal(size=(n_domains, n_latents))
    result = []
    for _ in range(2):
        domains = rng.integers(n_domains, size=n_samples)
        z = means[domains] + rng.normal(size=(n_samples, n_latents))
        result.append(encoded(z, z @ mixing + 0.5 * rng.normal(size=(n_samples, n_estimated)), domains))
    return result


def with_estimates(split, z_hat):
    return encoded(split.z, z_hat, split.domains)


# --- what is returned


def test_every_score_has_a_definition_and_the_promised_type():
    result = evaluate(*noisy_splits(0))
    assert set(result) == {name for name, score in SCORES.items() if score.compute}
    per_latent = result.pop("mcc_per_latent")
    unknown = [name for name in result if name in ("r2_content", "mcc_style") or name.startswith("support_")]
    assert (
        len(unknown) == 8 and [result.pop(name) for name in unknown] == [None] * 8
    )  # no support, nor which latents change
    assert all(type(value) is float for value in [*result.values(), *per_latent])
    assert len(per_latent) == 3
    assert np.mean(per_latent) == pytest.approx(result["mcc_spearman"])


def test_perfect_recovery_scores_one_with_one_latent_and_with_twenty():
    for n_latents in (1, 20):
        result = evaluate(*splits(lambda z, rng: z[:, ::-1], n_latents=n_latents))
        assert [result[name] for name in MCC] == pytest.approx([1, 1, 1])
        assert max(result[name] for name in MCC) <= 1
        assert result["r2_linear"] == pytest.approx(1)
        assert result["r2_component"] > 0.999
        assert result["r2_block"] > 0.95


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(3, 30), st.integers(1, 3), st.integers(1, 4))
def test_ties_constants_and_tiny_samples_never_give_nan_warnings_or_values_out_of_range(
    data, n, n_latents, n_estimated
):
    few_values = st.sampled_from([0.0, 1.0, 1.0 + 1e-9, -3.5, 1e4, 1e30])
    draw = [
        encoded(*(data.draw(hnp.arrays(float, (n, width), elements=few_values)) for width in (n_latents, n_estimated)))
        for _ in range(2)
    ]
    result = evaluate(*draw)
    assert np.isfinite([result[name] for name in R2]).all()
    assert max(result[name] for name in R2) <= 1
    assert all(0 <= value <= 1 for value in [*result["mcc_per_latent"], *(result[name] for name in MCC)])


# --- invariances


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    order=st.permutations(range(4)),
    signs=st.lists(st.sampled_from([-1, 1]), min_size=4, max_size=4),
    maps=st.lists(st.sampled_from(MONOTONE), min_size=4, max_size=4),
)
def test_mcc_is_invariant_to_permutation_sign_and_monotone_maps(seed, order, signs, maps):
    before = noisy_splits(seed, n_samples=60)

    def change(split):
        small = split.z_hat / 10  # where tanh and exp round nothing together
        columns = [sign * transform(small[:, i]) for i, sign, transform in zip(order, signs, maps, strict=True)]
        return with_estimates(split, np.stack(columns, axis=1))

    one, other = evaluate(*before), evaluate(*map(change, before))
    for name in ("mcc_spearman", "mcc_within", "mcc_per_latent"):
        assert one[name] == pytest.approx(other[name], abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    order=st.permutations(range(4)),
    slopes=st.lists(st.floats(0.01, 100).flatmap(lambda s: st.sampled_from([s, -s])), min_size=4, max_size=4),
    offsets=st.lists(st.floats(-100, 100), min_size=4, max_size=4),
)
def test_every_score_is_invariant_to_permutation_and_to_affine_maps_of_single_estimates(seed, order, slopes, offsets):
    before = noisy_splits(seed)
    after = [with_estimates(split, split.z_hat[:, order] * slopes + offsets) for split in before]
    one, other = evaluate(*before), evaluate(*after)
    for name in one:
        assert one[name] == pytest.approx(other[name], abs=1e-6)  # a large offset costs digits


def test_pearson_notices_a_monotone_map_that_spearman_does_not():
    result = evaluate(*splits(lambda z, rng: np.exp(2 * z)))
    assert result["mcc_spearman"] == pytest.approx(1)
    assert result["mcc_pearson"] < 0.7


def test_r2_linear_is_invariant_to_invertible_mixtures_of_the_estimates():
    before = noisy_splits(1, n_estimated=3)
    mixing = np.array([[1.0, 2, 0], [0, 1, -1], [3, 0, 1]])
    after = [with_estimates(split, split.z_hat @ mixing) for split in before]
    assert evaluate(*before)["r2_linear"] == pytest.approx(evaluate(*after)["r2_linear"], abs=1e-6)


# --- closed forms


@pytest.mark.parametrize("angle", [0.2, 0.6])
def test_a_rotation_of_gaussians_scores_its_closed_forms(angle):
    c, s = np.cos(angle), np.sin(angle)
    result = evaluate(*splits(lambda z, rng: z @ np.array([[c, -s], [s, c]]), n_samples=20_000))
    # Standard errors at 20,000 points are below 0.004.
    assert result["mcc_pearson"] == pytest.approx(c, abs=0.01)
    assert result["mcc_spearman"] == pytest.approx(6 / np.pi * np.arcsin(c / 2), abs=0.01)
    assert result["r2_component"] == pytest.approx(c**2, abs=0.02)
    assert result["r2_linear"] == pytest.approx(1)


def test_additive_noise_scores_its_closed_forms():
    result = evaluate(*splits(lambda z, rng: z + 0.5 * rng.normal(size=z.shape), n_samples=20_000))
    assert result["mcc_pearson"] == pytest.approx(0.8**0.5, abs=0.01)
    assert [result[name] for name in R2] == pytest.approx([0.8, 0.8, 0.8], abs=0.02)


@pytest.mark.parametrize("transform", [np.tanh, np.cbrt, np.exp, lambda x: x**3, lambda x: np.exp(2 * x)])
def test_r2_component_sees_through_componentwise_maps(transform):
    assert evaluate(*splits(lambda z, rng: transform(z)))["r2_component"] > 0.99


def test_r2_component_of_a_rectified_latent_is_its_closed_form_though_half_the_estimates_tie():
    result = evaluate(*splits(lambda z, rng: np.maximum(z, 0), n_samples=20_000))
    # Left over is the variance of a half-normal, 1 - 2/pi, for the half of the points that are cut off.
    assert result["r2_component"] == pytest.approx(1 - (1 - 2 / np.pi) / 2, abs=0.01)


def test_r2_block_sees_through_a_smooth_bijection_and_r2_linear_does_not():
    def bend(z, rng):
        turn = 0.8 * np.linalg.norm(z, axis=1)  # each point rotates by an angle that grows with its radius
        return np.stack(
            [np.cos(turn) * z[:, 0] - np.sin(turn) * z[:, 1], np.sin(turn) * z[:, 0] + np.cos(turn) * z[:, 1]], axis=1
        )

    result = evaluate(*splits(bend))
    assert result["r2_block"] > 0.97
    assert result["r2_linear"] < 0.8
    assert result["r2_component"] < 0.8


def rotated(z, rng):
    return z @ np.array([[1, -1], [1, 1]]) / np.sqrt(2)


@pytest.mark.parametrize("encode", [lambda z, rng: z, rotated, lambda z, rng: z + 0.5 * rng.normal(size=z.shape)])
@pytest.mark.parametrize("transform", [lambda x: np.exp(2 * x), lambda x: x**3, lambda x: -np.tanh(x), np.cbrt])
def test_r2_block_does_not_change_under_monotone_maps_of_single_estimates(encode, transform):
    before = splits(encode)
    after = [with_estimates(s, np.column_stack([transform(s.z_hat[:, 0]), s.z_hat[:, 1:]])) for s in before]
    assert evaluate(*after)["r2_block"] == pytest.approx(evaluate(*before)["r2_block"], abs=1e-6)


@pytest.mark.parametrize("transform", [lambda x: np.exp(2 * x), lambda x: x**3])
def test_r2_block_sees_through_stretched_tails_of_latents_and_of_their_rotations(transform):
    for encode in (lambda z, rng: z, rotated):
        assert evaluate(*splits(lambda z, rng, e=encode: transform(e(z, rng))))["r2_block"] > 0.995


def test_r2_block_of_noise_is_never_above_chance():
    """A prediction that does not know the latents scores minus its variance, and by chance 2 / sqrt(2000) times its deviation more."""
    for n_estimated in (1, 4, 8):
        scores = [
            evaluate(*splits(lambda z, rng, n=n_estimated: rng.normal(size=(len(z), n)), seed=seed))["r2_block"]
            for seed in range(10)
        ]
        assert min(scores) > -0.02 and max(scores) < 0.005 and np.mean(scores) < 0


def test_r2_block_is_that_of_scikit_learn_with_what_validation_chose():
    validation, test = splits(lambda z, rng: np.exp(z + 0.3 * rng.normal(size=z.shape)), n_samples=200)
    ranks = rankdata(validation.z_hat, axis=0)
    below = (validation.z_hat[:, None] < test.z_hat).sum(axis=0)
    inputs, inputs_test = norm.ppf(ranks / 201), norm.ppf((below + 0.5) / 201)
    bandwidth, ridges = metrics._chosen_kernel(inputs, validation.z)  # of validation alone
    models = [
        KernelRidge(alpha=ridge, kernel="rbf", gamma=1 / (8 * bandwidth)).fit(inputs, z - z.mean())
        for ridge, z in zip(ridges, validation.z.T, strict=True)
    ]
    predicted = np.stack([model.predict(inputs_test) for model in models], axis=1) + validation.z.mean(axis=0)
    assert evaluate(validation, test)["r2_block"] == pytest.approx(r2_score(test.z, predicted))


def test_left_out_residuals_are_those_of_refitting_without_the_point():
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(30, 2)), rng.normal(size=(30, 3))
    targets[:, 0] = np.sin(inputs[:, 0])
    unit = (targets - targets.mean(axis=0)) / targets.std(axis=0)

    def refitted(bandwidth, ridge):
        errors = []
        for out in range(30):
            rest = np.arange(30) != out
            model = KernelRidge(alpha=ridge, kernel="rbf", gamma=1 / (4 * 2 * bandwidth)).fit(inputs[rest], unit[rest])
            errors.append((unit[out] - model.predict(inputs[[out]])[0]) ** 2)
        return np.mean(errors, axis=0)

    found = np.array([[refitted(b, r) for r in metrics.KERNEL_RIDGES] for b in metrics.KERNEL_BANDWIDTHS])
    best = found.min(axis=1).mean(axis=1).argmin()
    bandwidth, ridges = metrics._chosen_kernel(inputs, targets)
    assert bandwidth == metrics.KERNEL_BANDWIDTHS[best]
    np.testing.assert_array_equal(ridges, np.array(metrics.KERNEL_RIDGES)[found[best].argmin(axis=0)])


def test_r2_linear_survives_collinear_estimates():
    mixing = np.array([[1.0, 2], [3, 1]])
    result = evaluate(*splits(lambda z, rng: np.hstack([z @ mixing, z @ mixing, z[:, :1]])))
    assert result["r2_linear"] == pytest.approx(1)


# --- agreement with other code


def brute_force(correlation, validation, test):
    """Mean of matched |correlation| on test, the match by trying every injection of true into estimated latents."""
    n_latents, n_estimated = validation.z.shape[1], validation.z_hat.shape[1]

    def absolute(split):
        rows = [[correlation(split, i, j) for j in range(n_estimated)] for i in range(n_latents)]
        return np.abs(rows)

    chosen_by, scored_by = absolute(validation), absolute(test)
    latents = np.arange(n_latents)
    best = max(permutations(range(n_estimated), n_latents), key=lambda match: chosen_by[latents, match].sum())
    return scored_by[latents, best].mean()


def pearson_of_pair(split, i, j):
    return np.corrcoef(split.z[:, i], split.z_hat[:, j])[0, 1]


def spearman_of_pair(split, i, j):
    return spearmanr(split.z[:, i], split.z_hat[:, j]).statistic


def within_of_pair(split, i, j):
    parts = [split.domains == domain for domain in np.unique(split.domains)]
    return np.mean([spearmanr(split.z[part, i], split.z_hat[part, j]).statistic for part in parts])


@pytest.mark.parametrize("seed", range(5))
def test_mcc_agrees_with_numpy_scipy_and_a_search_over_all_matchings(seed):
    noisy = noisy_splits(seed)
    rounded = [with_estimates(split, split.z_hat.round()) for split in noisy]  # ties
    for pair in (noisy, rounded):
        result = evaluate(*pair)
        for name, correlation in zip(MCC, (pearson_of_pair, spearman_of_pair, within_of_pair), strict=True):
            assert result[name] == pytest.approx(brute_force(correlation, *pair), abs=1e-12)


# --- validation chooses, test scores


def test_the_assignment_is_found_on_validation_not_on_test():
    validation, test = splits(lambda z, rng: z)
    swapped = with_estimates(test, test.z[:, ::-1])
    result = evaluate(validation, swapped)
    assert max(result[name] for name in MCC) < 0.1
    assert result["r2_component"] < -0.5


def test_probes_are_fitted_on_validation_and_their_r2_is_not_clipped():
    validation, test = splits(lambda z, rng: z)
    result = evaluate(validation, with_estimates(test, -test.z_hat))
    assert [result[name] for name in MCC] == pytest.approx([1, 1, 1])  # sign does not matter to a correlation
    # Predicting -z for z leaves residuals 2z: R^2 = 1 - 4.
    assert [result[name] for name in R2] == pytest.approx([-3, -3, -3], abs=0.1)


def test_correlations_are_scored_on_test():
    validation, test = splits(lambda z, rng: z)
    independent = with_estimates(test, np.random.default_rng(1).normal(size=test.z.shape))
    assert max(evaluate(validation, independent)[name] for name in MCC) < 0.1


# --- what counts 0


def test_an_unmatched_latent_counts_zero():
    result = evaluate(*splits(lambda z, rng: z[:, :2], n_latents=3))
    assert [result[name] for name in MCC] == pytest.approx([2 / 3] * 3)
    assert result["mcc_per_latent"] == pytest.approx([1, 1, 0])
    assert result["r2_component"] == pytest.approx(2 / 3, abs=1e-3)
    assert result["r2_linear"] == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.parametrize(("dtype", "rounding"), [("f4", 1e-7), (">f4", 1e-7), ("f8", 1e-16)])
@pytest.mark.parametrize("level", [0.0, 5.0, -1e6, 1.7e9])
def test_a_constant_estimate_counts_zero_even_if_rounding_makes_it_follow_the_latent(level, dtype, rounding):
    def collapse(z, rng):
        z_hat = z.copy()
        z_hat[:, 2] = level * (1 + rounding * z[:, 2])
        return z_hat.astype(dtype)

    result = evaluate(*splits(collapse, n_latents=3))
    assert [result[name] for name in MCC] == pytest.approx([2 / 3] * 3)
    assert result["mcc_per_latent"][2] == 0
    assert result["r2_component"] == pytest.approx(2 / 3, abs=1e-3)
    assert result["r2_linear"] == pytest.approx(2 / 3, abs=0.01)


# --- what does not: a small signal on a large number

SINCE_1970 = 1.7e9  # seconds


def times(spread, dtype, n_domains=1):
    """Two splits of one latent in seconds since 1970, a day later in every domain, and the same time as an estimate in other units."""
    rng = np.random.default_rng(0)
    result = []
    for _ in range(2):
        domains = rng.integers(n_domains, size=2000)
        seconds = SINCE_1970 + 86400 * domains + spread * rng.normal(size=2000)
        seconds = (np.round(seconds) if np.dtype(dtype).kind == "i" else seconds).astype(dtype)
        z_hat = (seconds.astype(float) - SINCE_1970) / spread
        result.append(encoded(seconds[:, None], z_hat[:, None], domains))
    return result


@pytest.mark.parametrize("is_swapped", [False, True])
@pytest.mark.parametrize(
    ("dtype", "spread"),
    [("f8", 1e7), ("f8", 60), ("f8", 0.1), ("i8", 1e7), ("i8", 60), ("i4", 60), ("u4", 60), ("f4", 1e7), ("f4", 1e5)],
)
def test_a_perfect_estimate_of_a_time_scores_one_in_every_type_that_can_tell_it(dtype, spread, is_swapped):
    pair = times(spread, dtype)
    if is_swapped:
        pair = [encoded(split.z_hat, split.z, split.domains) for split in pair]
    result = evaluate(*pair)
    assert [result[name] for name in (*MCC, "r2_linear")] == pytest.approx([1] * 4)
    assert min(result[name] for name in R2) > 0.99


@pytest.mark.parametrize(("dtype", "spread"), [("f8", 60), ("i8", 60), ("f4", 1e5)])
def test_a_perfect_estimate_of_a_time_scores_one_within_domains(dtype, spread):
    assert evaluate(*times(spread, dtype, n_domains=3))["mcc_within"] == pytest.approx(1)


@pytest.mark.parametrize("dtype", ["f8", "i8", "f4"])
def test_a_time_that_is_the_same_all_over_a_domain_scores_zero_within_domains(dtype):
    pair = times(60, "f8", n_domains=3)
    days = [encoded(s.z, (SINCE_1970 + 86400 * s.domains[:, None]).astype(dtype), s.domains) for s in pair]
    result = evaluate(*days)
    assert result["mcc_within"] == 0 and result["mcc_spearman"] > 0.9


@pytest.mark.parametrize("where", [0, 1])
def test_an_estimate_constant_on_one_split_only_counts_zero(where):
    pair = splits(lambda z, rng: z)
    collapsed = pair[where].z_hat.copy()
    collapsed[:, 1] = 1
    pair[where] = with_estimates(pair[where], collapsed)
    result = evaluate(*pair)
    assert [result[name] for name in MCC] == pytest.approx([0.5] * 3)
    assert result["r2_component"] == pytest.approx(0.5, abs=1e-3)


def test_if_every_estimate_is_constant_every_score_is_zero():
    supports = Supports(np.eye(2, dtype=bool), np.ones((2, 3)))
    result = evaluate(*splits(lambda z, rng: np.full((len(z), 3), 2.5)), np.array([True, False]), supports)
    assert result.pop("mcc_per_latent") == [0, 0]
    # Entries without an order: the fraction that are edges, by chance too.
    assert [result.pop(name) for name in ("support_ap", "support_ap_chance")] == [0.5, 0.5]
    assert set(result.values()) == {0}


def test_a_constant_true_latent_counts_zero():
    validation, test = splits(lambda z, rng: z)
    for split in (validation, test):
        split.z[:, 1] = 4
    result = evaluate(validation, test)
    assert [result[name] for name in (*MCC, *R2)] == pytest.approx([0.5] * 6, abs=1e-3)


def test_content_is_scored_as_a_block_and_style_by_component():
    """Content rotated within itself is recovered as a block and not by component; style left alone is, by component."""
    turn = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    pair = splits(lambda z, rng: np.hstack([z[:, :2] @ turn, z[:, 2:]]), n_latents=3)
    result = evaluate(*pair, np.array([False, False, True]))
    assert result["mcc_style"] == pytest.approx(1) and result["r2_content"] > 0.97
    assert min(result["mcc_per_latent"][:2]) < 0.9
    assert [evaluate(*pair, np.ones(3, bool))[name] for name in ("r2_content", "mcc_style")] == [None, None]


# --- more estimates than latents


def test_further_random_estimates_change_no_match_that_is_clear():
    before = splits(lambda z, rng: z + 0.1 * rng.normal(size=z.shape), n_latents=3)
    rng = np.random.default_rng(1)
    after = [with_estimates(split, np.hstack([rng.normal(size=(len(split.z), 5)), split.z_hat])) for split in before]
    one, other = evaluate(*before), evaluate(*after)
    for name in (*MCC, "mcc_per_latent", "r2_component"):
        assert one[name] == pytest.approx(other[name], abs=1e-12)


def test_further_random_estimates_do_not_lift_independent_ones_above_the_floor():
    result = evaluate(*splits(lambda z, rng: rng.normal(size=(len(z), 8)), n_latents=4))
    # |correlation| of independent columns at 2000 points has mean 0.018; picking it on test would give about 0.04.
    assert max(result[name] for name in MCC) < 0.035
    assert min(result[name] for name in R2) > -0.05
    assert max(result[name] for name in R2) < 0.01


# --- inside domains


def domain_splits(estimate, n_domains=4, n_samples=2000, spread=4.0):
    """Two latents, unit noise around domain means of deviation `spread`; `estimate(z, means, domains, rng)`."""
    rng = np.random.default_rng(0)
    centres = spread * rng.normal(size=(n_domains, 2))
    result = []
    for _ in range(2):
        domains = rng.integers(n_domains, size=n_samples)
        z = centres[domains] + rng.normal(size=(n_samples, 2))
        result.append(encoded(z, estimate(z, centres[domains], domains, rng), domains))
    return result


def test_recovering_domain_means_only_is_exposed_by_mcc_within():
    result = evaluate(*domain_splits(lambda z, means, domains, rng: means + rng.normal(size=z.shape)))
    assert result["mcc_spearman"] > 0.75
    assert result["mcc_pearson"] > 0.75
    assert result["mcc_within"] < 0.1


def test_a_domain_index_as_estimate_has_no_mcc_within():
    result = evaluate(
        *domain_splits(lambda z, means, domains, rng: np.stack([domains, -domains], axis=1).astype(float))
    )
    assert result["mcc_spearman"] > 0.3
    assert result["mcc_within"] == 0


def test_one_sign_must_hold_in_all_domains():
    def flip(flipped):
        return lambda z, means, domains, rng: np.where(np.isin(domains, flipped)[:, None], -z, z)

    # Correlations are +1 or -1 inside each of four domains; their mean is what is left.
    assert evaluate(*domain_splits(flip([])))["mcc_within"] == pytest.approx(1)
    assert evaluate(*domain_splits(flip([2])))["mcc_within"] == pytest.approx(0.5)
    assert evaluate(*domain_splits(flip([0, 1, 2])))["mcc_within"] == pytest.approx(0.5)
    assert evaluate(*domain_splits(flip([0, 3])))["mcc_within"] < 0.1


def test_one_map_from_true_to_estimated_must_hold_in_all_domains():
    def swap(z, means, domains, rng):
        return np.where((domains < 2)[:, None], z, z[:, ::-1])

    assert evaluate(*domain_splits(swap))["mcc_within"] == pytest.approx(0.5, abs=0.1)


def test_domains_count_equally_whatever_their_size():
    def encode(z, rng):
        z_hat = rng.normal(size=z.shape)
        z_hat[:100] = z[:100]
        return z_hat

    domains = np.r_[np.zeros(100, int), np.ones(1900, int)]
    pair = [encoded(split.z, split.z_hat, domains) for split in splits(encode)]
    assert evaluate(*pair)["mcc_within"] == pytest.approx(0.5, abs=0.05)


def test_with_one_domain_mcc_within_is_mcc_spearman():
    for seed in range(5):
        result = evaluate(*noisy_splits(seed, n_domains=1))
        assert result["mcc_within"] == result["mcc_spearman"]


def test_a_domain_with_fewer_than_three_points_is_skipped_in_its_split():
    before = noisy_splits(2)
    for where in (0, 1):
        split = before[where]
        more = Encoded(
            np.vstack([split.z, [[0, 0, 0], [1, 1, 1]]]),
            np.vstack([split.z_hat, [[0, 0, 0, 0], [-1, 1, -1, 1]]]),
            np.append(split.domains, [7, 7]),
        )
        after = [more, before[1]] if where == 0 else [before[0], more]
        assert evaluate(*after)["mcc_within"] == pytest.approx(evaluate(*before)["mcc_within"], abs=1e-12)


def test_r2_block_sees_every_domain_in_whatever_order_the_points_come():
    n_samples, n_domains = 2000, 10
    orders = (np.arange(n_samples) * n_domains // n_samples, np.arange(n_samples) % n_domains)
    rng = np.random.default_rng(0)
    centres = 5 * rng.normal(size=(n_domains, 2))
    for domains in orders:
        draws = [centres[domains] + rng.normal(size=(n_samples, 2)) for _ in range(2)]
        assert evaluate(*(encoded(z, z, domains) for z in draws))["r2_block"] > 0.99


# --- mistakes seen elsewhere


def test_latents_scrambled_by_a_reshape_score_low():
    result = evaluate(*splits(lambda z, rng: z.T.reshape(z.shape), n_latents=4))
    assert max(result[name] for name in MCC) < 0.1
    assert max(result[name] for name in R2) < 0.1


def test_one_wild_estimate_on_test_cannot_explode_the_spline():
    validation, test = splits(lambda z, rng: z)
    wild = test.z_hat.copy()
    wild[0] = 1e9
    assert evaluate(validation, with_estimates(test, wild))["r2_component"] > 0.99


def test_inputs_are_not_changed_and_may_be_read_only():
    pair = noisy_splits(3)
    arrays = [array for split in pair for array in (split.z, split.z_hat, split.domains)]
    copies = [array.copy() for array in arrays]
    evaluate(*pair)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
        array.flags.writeable = False
    evaluate(*pair)


def test_float32_is_computed_in_float64():
    single = [Encoded(s.z.astype("f4"), s.z_hat.astype("f4"), s.domains.astype("i4")) for s in noisy_splits(4)]
    double = [Encoded(s.z.astype("f8"), s.z_hat.astype("f8"), s.domains) for s in single]
    assert evaluate(*single) == evaluate(*double)


def broken(field, change):
    """The test split with one field changed."""
    _, test = noisy_splits(5)
    return Encoded(**{**vars(test), field: change(getattr(test, field).copy())})


def put(value):
    def change(array):
        array[3, 1] = value
        return array

    return change


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (broken("z_hat", put(np.nan)), "z_hat of the test split holds values that are not finite"),
        (broken("z_hat", put(np.inf)), "not finite"),
        (broken("z", put(-np.inf)), "z of the test split holds values that are not finite"),
        (broken("z_hat", put(1e200)), "beyond 1e"),
        (broken("z", lambda z: z[:-1]), "one row"),
        (broken("z_hat", lambda z_hat: z_hat[:-1]), "one row"),
        (broken("domains", lambda domains: domains[:-1]), "one domain per sample"),
        (broken("domains", lambda domains: domains[:, None]), "one domain per sample"),
        (broken("domains", lambda domains: domains.astype(float)), "integers from 0"),
        (broken("domains", lambda domains: domains - 1), "integers from 0"),
        (broken("domains", lambda domains: np.arange(len(domains)) // 2), "no domain of the test split has 3 points"),
        (broken("z_hat", lambda z_hat: z_hat[:, 0]), "shape"),
        (broken("z_hat", lambda z_hat: z_hat[:, :0]), "at least 1"),
        (broken("z_hat", lambda z_hat: z_hat[:, :2]), "z_hat has 4 columns on validation and 2 on test"),
        (broken("z", lambda z: z[:, :2]), "z has 3 columns on validation and 2 on test"),
        (Encoded(np.empty((0, 3)), np.empty((0, 4)), np.empty(0, int)), "no domain of the test split"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(split, message):
    validation, _ = noisy_splits(5)
    with pytest.raises(ValueError, match=message):
        evaluate(validation, split)


def test_every_score_has_a_definition_and_a_source():
    assert all(score.definition.endswith(".") and score.source for score in SCORES.values())


def test_matched_spearman_is_mcc_spearman_alone():
    for seed in range(3):
        pair = noisy_splits(seed)
        assert matched_spearman(*pair) == evaluate(*pair)["mcc_spearman"]


def supports_and_splits(strength):
    """Two latents estimated in the other order, and a support of three observed variables with the strengths given."""
    rng = np.random.default_rng(0)
    validation, test = (Encoded(z, -z[:, ::-1], np.zeros(200, dtype=int)) for z in rng.normal(size=(2, 200, 2)))
    true = np.array([[True, False], [True, True], [False, True]])
    return validation, test, Supports(true, np.asarray(strength))


def test_the_support_scores_of_a_ranking_computed_by_hand():
    # Of the latents, after matching: [[.9, .2], [.8, .15], [.05, .03]]. Edges ranked: true, true, false, true, false, true.
    validation, test, supports = supports_and_splits([[0.2, 0.9], [0.15, 0.8], [0.03, 0.05]])
    found = evaluate(validation, test, None, supports)
    assert found["support_ap"] == pytest.approx((1 + 1 + 3 / 4 + 4 / 6) / 4)
    assert found["support_f1"] == pytest.approx(2 * 3 / (4 + 4))  # above .1: four entries, three of them edges


def test_the_support_scores_are_empty_without_a_decoder_and_of_a_full_support():
    validation, test, supports = supports_and_splits(np.ones((3, 2)))
    full = Supports(np.ones((3, 2), bool), np.ones((3, 2)))
    for each in (None, full):
        found = evaluate(validation, test, None, each)
        assert {value for name, value in found.items() if name.startswith("support_")} == {None}


def dealt(true, strength, matched, score):
    """Mean of a score over 400 random deals of the matched strengths to their entries, and its standard error."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        other = strength.copy()
        other[matched] = rng.permutation(strength[matched])
        found.append(score(true, other))
    return np.mean(found), np.std(found) / np.sqrt(len(found))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n_unmatched", [0, 1, 3])
def test_chance_of_the_support_scores_is_the_mean_over_random_deals_of_the_strengths(ties, n_unmatched):
    rng = np.random.default_rng(1)
    true = rng.random((5, 4)) < 0.4
    strength = rng.random((5, 4)).round(1 if ties else 9)
    strength[:, :n_unmatched] = 0
    true, strength = true.ravel(), strength.ravel()
    matched = np.tile(np.arange(4) >= n_unmatched, 5)
    mean, error = dealt(true, strength, matched, average_precision_score)
    assert metrics.expected_average_precision(true, strength, matched) == pytest.approx(mean, abs=5 * error)
    mean, error = dealt(true, strength, matched, lambda true, dealt: f1_score(true, dealt > 0.5))
    assert metrics.expected_f1(true, strength > 0.5, matched) == pytest.approx(mean, abs=5 * error)


@pytest.mark.parametrize(("n_edges", "n_entries"), [(1, 1), (1, 7), (3, 7), (7, 7), (20, 64)])
def test_without_ties_chance_is_the_closed_form_of_the_harmonic_number(n_edges, n_entries):
    harmonic = (1 / np.arange(1, n_entries + 1)).sum()
    both = (n_edges - 1) / max(n_entries - 1, 1)
    found = metrics.expected_average_precision(
        np.arange(n_entries) < n_edges, np.arange(1.0, n_entries + 1), np.ones(n_entries, bool)
    )
    assert found == pytest.approx((both * (n_entries - harmonic) + harmonic) / n_entries)


def test_the_gain_over_chance_is_one_of_the_true_support_and_zero_on_average_of_random_strengths():
    validation, test, supports = supports_and_splits([[0, 1], [1, 1], [1, 0]])
    found = evaluate(validation, test, None, supports)
    assert [found[f"support_{name}_gain"] for name in ("ap", "f1")] == [1, 1]
    rng = np.random.default_rng(0)
    pair = Evaluation.of(validation, test)
    gains = {"support_ap_gain": [], "support_f1_gain": []}
    for _ in range(400):
        e = dataclasses.replace(pair, supports=Supports(supports.true, 0.2 * rng.random((3, 2))))
        for name, values in gains.items():
            values.append(SCORES[name].compute(e))
    for values in gains.values():
        assert np.mean(values) == pytest.approx(0, abs=5 * np.std(values) / np.sqrt(len(values)))


class TestSupportsWithoutLatents:
    """What is scored where the support of the mixing is known and no latent is: the match is by the support itself."""

    def supports(self, seed=0, n_observed=12, n_latents=3, n_estimated=4):
        rng = np.random.default_rng(seed)
        true = np.arange(n_observed)[:, None] % n_latents == np.arange(n_latents)
        return Supports(true, rng.random((n_observed, n_estimated)))

    def test_a_permuted_support_is_recovered_whatever_the_scale_of_each_latent(self):
        true = self.supports().true
        strength = (true * [1.0, 20.0, 0.3] + 0.01)[:, [2, 0, 1]]
        evaluation = Evaluation.of_supports(Supports(true, strength))
        assert evaluation.edge_of == {0: 1, 1: 2, 2: 0}
        assert matched_by_support(Supports(true, strength)) == {0: 1, 1: 2, 2: 0}

    def test_the_match_is_the_best_of_all_by_correlation(self):
        for seed in range(5):
            supports = self.supports(seed)
            correlation = np.corrcoef(supports.true.T, supports.strength.T)[:3, 3:]
            found = matched_by_support(supports)
            best = max(sum(correlation[i, e] for i, e in enumerate(p)) for p in permutations(range(4), 3))
            assert sum(correlation[i, e] for i, e in found.items()) == pytest.approx(best)

    def test_a_latent_without_edges_is_no_match(self):
        true = self.supports().true
        assert matched_by_support(Supports(true, true * [1.0, 0.0, 1.0])) == {0: 0, 2: 2}

    def test_average_precisions_are_those_of_scikit_learn_with_ties(self):
        rng = np.random.default_rng(0)
        true, strength = rng.random(30) < 0.3, rng.integers(0, 6, size=(40, 30)) / 5
        expected = [average_precision_score(true, row) for row in strength]
        np.testing.assert_allclose(average_precisions(true, strength), expected)

    def test_chance_is_the_mean_score_of_strengths_that_tell_nothing(self):
        supports = self.supports(n_observed=25, n_latents=5, n_estimated=5)
        found, _ = Evaluation.of_supports(supports).scores()
        rng = np.random.default_rng(1)
        others = [Evaluation.of_supports(Supports(supports.true, rng.random((25, 5)))) for _ in range(200)]
        assert found["support_ap_chance"] == pytest.approx(np.mean([metrics.support_ap(e) for e in others]), abs=0.02)
        assert found["support_f1_chance"] == pytest.approx(np.mean([metrics.support_f1(e) for e in others]), abs=0.02)
        # A match by the support profits from the choice: chance is above the density of the support.
        assert found["support_ap_chance"] > supports.true.mean() + 0.05

    def test_only_the_support_is_scored(self):
        found, wrong = Evaluation.of_supports(self.supports()).scores()
        assert set(found) == {name for name in SCORES if name.startswith("support_")} and not wrong
        full = Supports(np.ones((4, 2), dtype=bool), np.ones((4, 2)))
        assert set(Evaluation.of_supports(full).scores()[0].values()) == {None}
