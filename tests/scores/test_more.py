"""Claims about the scores that are computed on demand: closed forms, agreement with kept libraries, what chance gives."""

import numpy as np
import pytest
from scipy import stats
from sklearn.cross_decomposition import CCA
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression
from sklearn.metrics import normalized_mutual_info_score, r2_score

from bench import scores
from bench.registry import UsageError
from bench.scores import ON_DEMAND, SCORES, more
from bench.scores.metrics import Encoded, Evaluation

pytestmark = pytest.mark.filterwarnings("error")


def evaluation(encode, n_samples=500, n_latents=3, seed=0, n_domains=1):
    """Independent standard normal latents, `encode(z, rng)` their estimates."""
    rng = np.random.default_rng(seed)
    splits = []
    for _ in range(2):
        z = rng.normal(size=(n_samples, n_latents))
        splits.append(Encoded(z, encode(z, rng), np.arange(n_samples) % n_domains))
    return Evaluation.of(*splits)


def noise(z, rng):
    return rng.normal(size=z.shape)


def noisy(z, rng):
    return z @ np.array([[1, 0.5, 0], [0, 1, 0.5], [0.3, 0, 1]]) + 0.5 * rng.normal(size=z.shape)


def found(e, name):
    return ON_DEMAND[name].compute(e)


# --- how they are declared


def test_no_score_on_demand_is_a_score_of_every_trial_and_each_says_its_chance():
    assert not set(SCORES) & set(ON_DEMAND)
    for name, record in ON_DEMAND.items():
        assert record.heading and not record.tables, name
        says = record.definition
        assert any(word in says for word in ("hance", "know", "by chance", "The same")), name


def test_a_name_that_a_score_on_demand_has_is_taken():
    def tmex(e):
        """Another one."""

    with pytest.raises(UsageError, match="two scores are called 'tmex'"):
        scores.score("tmex", source="a test")(tmex)


def test_every_score_is_a_number_or_none_for_one_latent_and_one_estimate():
    values, wrong = evaluation(lambda z, rng: z, n_latents=1).scores(ON_DEMAND)
    assert not wrong and [name for name, value in values.items() if value is None] == [
        "dci_d",
        "dci_c",
        "info_m",
        "info_c",
    ]
    assert values["tmex"] == 0 and values["mig"] == pytest.approx(1, abs=0.01) and values["sap"] == pytest.approx(1)


def test_scores_do_not_depend_on_the_order_in_which_they_are_asked_for():
    one, other = evaluation(noisy), evaluation(noisy)
    forth = {name: record.compute(one) for name, record in ON_DEMAND.items()}
    back = {name: record.compute(other) for name, record in reversed(ON_DEMAND.items())}
    assert forth == back


def test_an_estimate_that_is_constant_in_single_precision_is_constant():
    def draw(z, rng):
        return np.column_stack([z, 5 * (1 + 1e-7 * z[:, 0])]).astype(np.float32)

    e, plain = evaluation(draw, n_samples=200), evaluation(lambda z, rng: z, n_samples=200)
    for name in ON_DEMAND.keys() - {"dci_c", "dci_s"} - {n for n in ON_DEMAND if "null" in n or "adjusted" in n}:
        assert found(e, name) == pytest.approx(found(plain, name), abs=1e-3), name


@pytest.mark.parametrize("constant", ["z", "z_hat"])
def test_one_constant_column_gives_finite_scores_without_a_warning(constant):
    def draw(z, rng):
        estimates = z + 0.1 * rng.normal(size=z.shape)
        (z if constant == "z" else estimates)[:, 1] = 7.0
        return estimates

    values, _ = evaluation(draw, n_samples=200).scores(ON_DEMAND)
    assert all(value is not None and np.isfinite(value) for value in values.values())


# --- MCC with a sign, and against chance


def test_the_signed_mcc_of_noise_is_zero_on_average_where_the_mcc_is_not():
    n = 60
    drawn = [evaluation(noise, n_samples=30, seed=seed) for seed in range(n)]
    for kind in more.KINDS:
        signed = np.array([found(e, f"{kind.score}_signed") for e in drawn])
        plain = np.array([SCORES[kind.score].compute(e) for e in drawn])
        assert abs(signed.mean()) < 3 * signed.std() / np.sqrt(n)
        assert plain.mean() > 10 * plain.std() / np.sqrt(n)


def test_the_sign_is_that_of_validation():
    e = evaluation(lambda z, rng: -z)
    flipped = Evaluation.of(e.validation, Encoded(e.test.z, -e.test.z_hat, e.test.domains))
    for kind in more.KINDS:
        assert found(e, f"{kind.score}_signed") == pytest.approx(1)
        assert found(flipped, f"{kind.score}_signed") == pytest.approx(-1)


def test_the_signed_mcc_is_a_search_over_all_matchings_and_scipy():
    import itertools

    e = evaluation(noisy)
    pairs = [stats.spearmanr(s.z, s.z_hat).statistic[:3, 3:] for s in (e.validation, e.test)]
    rows = np.arange(3)
    best = max(itertools.permutations(rows), key=lambda match: np.abs(pairs[0][rows, match]).sum())
    expected = (np.sign(pairs[0][rows, best]) * pairs[1][rows, best]).mean()
    assert found(e, "mcc_spearman_signed") == pytest.approx(expected)


def test_the_null_is_what_the_mcc_of_permuted_points_is():
    e = evaluation(noisy, n_samples=40)
    for kind in more.KINDS[:2]:
        rng, drawn = np.random.default_rng(1), []
        for _ in range(50):
            own = [s.z_hat[rng.permutation(40)] for s in (e.validation, e.test)]
            splits = [Encoded(s.z, z_hat, s.domains) for s, z_hat in zip((e.validation, e.test), own, strict=True)]
            drawn.append(SCORES[kind.score].compute(Evaluation.of(*splits)))
        null = more.permutation_null(kind, e.validation, e.test, n=50, seed=1)
        np.testing.assert_allclose(null, drawn, atol=1e-12)


def test_the_null_within_domains_keeps_every_point_in_its_domain():
    e = evaluation(noise, n_samples=60, n_domains=20)
    null = more.permutation_null(more.KINDS[2], e.validation, e.test)
    # 20 domains of 3 points: a rank correlation of three has variance 1 / 2, their mean over all domains is nearly normal.
    assert null.mean() == pytest.approx(np.sqrt(2 / np.pi / 2 / 20), rel=0.1)


def test_the_null_of_many_points_is_its_closed_form_and_five_in_a_hundred_pass_it():
    e = evaluation(noise, n_samples=400)
    assert found(e, "mcc_pearson_null") == pytest.approx(np.sqrt(2 / np.pi / 400), rel=0.1)
    pearson = more.KINDS[1]
    passed = [
        SCORES["mcc_pearson"].compute(e)
        > np.quantile(more.permutation_null(pearson, e.validation, e.test, n=100), 0.95)
        for e in (evaluation(noise, n_samples=40, seed=seed) for seed in range(100))
    ]
    assert 0 < sum(passed) < 13  # of 100 at one in twenty: beyond with probability .002


def test_the_adjusted_mcc_is_cohens_correction():
    e = evaluation(noisy)
    null, plain = found(e, "mcc_within_null"), SCORES["mcc_within"].compute(e)
    assert found(e, "mcc_within_adjusted") == pytest.approx((plain - null) / (1 - null))


def test_coverage_lets_an_estimate_serve_two_latents_and_is_chosen_on_validation():
    e = evaluation(
        lambda z, rng: np.column_stack([z[:, 0] + z[:, 1], noise(z, rng)[:, 0]]), n_latents=2, n_samples=5000
    )
    one = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)
    assert found(e, "coverage") == pytest.approx(one, abs=0.02)
    assert SCORES["mcc_spearman"].compute(e) == pytest.approx(one / 2, abs=0.02)
    e = evaluation(lambda z, rng: z)
    swapped = Evaluation.of(e.validation, Encoded(e.test.z, np.roll(e.test.z, 1, axis=1), e.test.domains))
    assert found(swapped, "coverage") < 0.1


# --- classes


def test_mcc_after_cca_is_scikit_learns_fitted_on_validation():
    e = evaluation(noisy)
    model = CCA(n_components=3, max_iter=10_000, tol=1e-12).fit(e.validation.z, e.validation.z_hat)
    z, z_hat = model.transform(e.test.z, e.test.z_hat)
    expected = [np.corrcoef(z[:, i], z_hat[:, i])[0, 1] for i in range(3)]
    assert found(e, "mcc_cca") == pytest.approx(np.mean(expected), abs=1e-6)


def test_mcc_after_cca_is_invariant_to_linear_maps_and_to_repeated_columns():
    e = evaluation(noisy)
    mixing = np.random.default_rng(3).normal(size=(3, 3))
    for change in (lambda x: 1e4 * x @ mixing + 5, lambda x: np.hstack([x, x @ mixing])):
        other = Evaluation.of(*(Encoded(s.z, change(s.z_hat), s.domains) for s in (e.validation, e.test)))
        assert found(other, "mcc_cca") == pytest.approx(found(e, "mcc_cca"), abs=1e-6)


def test_classes_are_scikit_learns_regressions_fitted_on_validation():
    e = evaluation(lambda z, rng: np.sinh(z[:, [2, 0, 1]] + 0.3 * rng.normal(size=z.shape)) * [1, -1, 1])
    own = [1, 2, 0]
    line, isotonic = [], []
    for latent, estimate in enumerate(own):
        x, y = e.validation.z_hat[:, estimate], e.validation.z[:, latent]
        x_test, y_test = e.test.z_hat[:, estimate], e.test.z[:, latent]
        line.append(r2_score(y_test, LinearRegression().fit(x[:, None], y).predict(x_test[:, None])))
        model = IsotonicRegression(increasing="auto", out_of_bounds="clip").fit(x, y)
        isotonic.append(r2_score(y_test, model.predict(x_test)))
    assert found(e, "class_permutation") == pytest.approx(np.mean(line))
    assert found(e, "class_monotone") == pytest.approx(np.mean(isotonic))
    every = LinearRegression().fit(e.validation.z_hat, e.validation.z).predict(e.test.z_hat)
    assert found(e, "class_linear") == pytest.approx(r2_score(e.test.z, every), abs=1e-6)


# --- DCI-ES


def test_disentanglement_is_its_closed_form():
    assert more.disentanglement(np.eye(3)) == 1
    assert more.disentanglement(np.ones((4, 3))) == pytest.approx(0)
    # One estimate of two latents in equal parts, with two thirds of all importance; one of the third latent alone.
    halves = np.array([[1.0, 1, 0], [0, 0, 1]])
    assert more.disentanglement(halves) == pytest.approx((2 * (1 - np.log(2) / np.log(3)) + 1) / 3)
    assert more.disentanglement(np.zeros((2, 2))) == 0


def test_completeness_of_latents_that_are_estimated_twice_is_one_less_the_logarithm_of_two():
    e = evaluation(lambda z, rng: np.hstack([z, z]))
    assert found(e, "dci_c") == pytest.approx(1 - np.log(2) / np.log(6), abs=0.02)
    assert found(e, "dci_d") == pytest.approx(1, abs=0.01)
    assert found(e, "dci_s") == 0.5


def test_informativeness_is_r2_of_the_forests_on_test():
    e = evaluation(lambda z, rng: z + rng.normal(size=z.shape), n_samples=2000)
    assert 0.3 < found(e, "dci_i") < 0.5  # at best 1/2, the part of the variance that is no noise


def test_explicitness_of_curves_is_its_closed_form():
    capacities = np.array([0.0, 1, 2, 4])
    curves = np.array([[0.3, 0.3, 0.3, 0.3], [1, 0.75, 0.5, 0], [1, 1, 1, 0.0], [0.5, 0.9, 0.25, 0.3]]).T
    # Flat: 1. A straight line from 1 to 0: 0. Late: the area 3 over 2. The least loss so far: .5, .5, .25, .25.
    expected = [1, 0, 1 - 3 / 2, 1 - (0.25 + 0.125) / 2]
    np.testing.assert_allclose(more.explicitness(capacities, curves), expected, atol=1e-12)


def test_explicitness_is_one_for_linear_maps_and_less_for_what_a_linear_probe_cannot_read():
    mixing = np.array([[1.0, 2, 0], [0, 1, -1], [3, 0, 1]])
    assert found(evaluation(lambda z, rng: z @ mixing), "dci_e") == pytest.approx(1, abs=1e-3)
    assert found(evaluation(lambda z, rng: np.sign(z) * np.exp(np.abs(2 * z))), "dci_e") < 0.9


# --- information


def test_mig_is_scikit_learns_normalised_information_of_bins():
    e = evaluation(noisy, n_samples=1000)
    cut = [
        [np.searchsorted(np.quantile(v, np.arange(1, 20) / 20), v) for v in values.T]
        for values in (e.test.z, e.test.z_hat)
    ]
    gaps = []
    for own in cut[0]:
        # Over the entropy of the latent's bins, which is that of the estimates' too: all hold as many points.
        information = sorted(normalized_mutual_info_score(own, other) for other in cut[1])
        gaps.append(information[-1] - information[-2])
    assert found(e, "mig") == pytest.approx(np.mean(gaps))


def test_mig_does_not_change_under_monotone_maps_and_sap_does():
    plain, bent = (
        evaluation(lambda z, rng, f=f: f(noisy(z, rng))) for f in (lambda x: x, lambda x: np.exp(x) * [1, 1, -1])
    )
    assert found(plain, "mig") == pytest.approx(found(bent, "mig"))
    assert abs(found(plain, "sap") - found(bent, "sap")) > 0.02


def test_sap_is_the_gap_of_scipys_squared_correlations():
    e = evaluation(noisy)
    gaps = []
    for z in e.test.z.T:
        r2 = sorted(stats.pearsonr(z, other).statistic ** 2 for other in e.test.z_hat.T)
        gaps.append(r2[-1] - r2[-2])
    assert found(e, "sap") == pytest.approx(np.mean(gaps))


def test_the_gap_to_uniform_is_its_closed_form():
    assert more.gap_to_uniform(np.eye(4)) == 1
    assert more.gap_to_uniform(np.ones((2, 5))) == pytest.approx(0)
    assert more.gap_to_uniform(np.array([[3.0, 1], [0, 0]])) == pytest.approx((3 / 4 + 1 / 2 - 1) / 2 / (1 / 2))
    assert more.gap_to_uniform(np.ones((3, 1))) is None


def test_information_of_nearest_neighbours_is_that_of_normal_numbers():
    rho = 0.8
    e = evaluation(lambda z, rng: rho * z + np.sqrt(1 - rho**2) * rng.normal(size=z.shape), n_samples=2000)
    information = more._information(e)
    nats = -np.log(1 - rho**2) / 2  # of the numbers; their bins know a little less
    np.testing.assert_allclose(np.diagonal(information) * np.log(20), nats, atol=0.08)
    assert information[~np.eye(3, dtype=bool)].max() < 0.02


def test_info_m_of_latents_that_are_estimated_twice_is_one_and_info_c_is_not():
    e = evaluation(lambda z, rng: np.hstack([z, z]))
    assert found(e, "info_m") == pytest.approx(1, abs=0.03)
    assert found(e, "info_c") == pytest.approx((1 / 2 - 1 / 6) / (1 - 1 / 6), abs=0.03)


# --- T-MEX


def test_the_generalised_covariance_is_a_test_of_the_mean_of_products():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 1)), rng.normal(size=(300, 4))
    y[:, 0] += 0.5 * x[:, 0]
    statistic, effect = more.generalised_covariance(x, y)
    t = stats.ttest_1samp(x * y, 0).statistic
    np.testing.assert_allclose(statistic, t * np.sqrt(300 / 299))
    slopes = [np.linalg.lstsq(x, values, rcond=None)[0][0] for values in y.T]
    np.testing.assert_allclose(effect, np.square(slopes) * (x**2).mean())


def dependent(encode, seed, rho=0.8, n_samples=300):
    rng = np.random.default_rng(seed)
    splits = []
    for _ in range(2):
        z = np.sqrt(rho) * rng.normal(size=(n_samples, 1)) + np.sqrt(1 - rho) * rng.normal(size=(n_samples, 3))
        splits.append(Encoded(z, encode(z, rng), np.zeros(n_samples, int)))
    return Evaluation.of(*splits)


def test_tmex_errs_at_its_level_where_latents_depend_and_estimates_are_right():
    wrong = [found(dependent(lambda z, rng: np.exp(z + 0.2 * rng.normal(size=z.shape)), s), "tmex") for s in range(15)]
    # 90 tests at one in twenty: 4.5 are wrong on average. More than 12 are with probability .0005.
    assert sum(wrong) <= 12


def test_tmex_sees_a_wrong_latent_that_mcc_does_not():
    def others(z, rng):
        return np.column_stack([z[:, 0], z[:, 0] + 0.3 * rng.normal(size=len(z)), z[:, 2]])

    e = dependent(others, 0, rho=0.95)
    assert SCORES["mcc_spearman"].compute(e) > 0.9
    assert found(e, "tmex") >= 2  # the second estimate depends on the first latent, and not on its own
    assert not more._measured(e).edges[1, 1] and more._measured(e).edges[1, 0]


def test_effects_of_tmex_are_the_parts_of_variance_that_a_latent_adds():
    e = evaluation(lambda z, rng: np.column_stack([z[:, 0] + 0.5 * z[:, 1], z[:, 1], z[:, 2]]), n_samples=2000)
    shares = more._measured(e).shares
    expected = np.array([[0.8, 0.2, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(shares, expected, atol=0.03)
    assert found(e, "tmex_own") == pytest.approx(2.8 / 3, abs=0.02)
    assert found(e, "tmex_others") == pytest.approx(0.2 / 3, abs=0.02)


def test_the_effect_of_an_own_latent_that_others_predict_is_what_they_leave():
    e = dependent(lambda z, rng: z, 0, rho=0.8, n_samples=2000)
    covariance = 0.8 * np.ones((3, 3)) + 0.2 * np.eye(3)
    left = 1 / np.linalg.inv(covariance)[0, 0]
    assert found(e, "tmex_own") == pytest.approx(left, abs=0.03)
