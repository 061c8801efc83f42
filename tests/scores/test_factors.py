"""Content and style told apart: encodings of which the right answer is known."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.metrics import mutual_info_score, r2_score

from bench.scores import SCORES
from bench.scores.factors import CHANGED, Judge, factor_scores, frechet, is_style, made_scores, r2_of, swapped
from datasets import Instance, Split

N = 1500


def world(seed, n_domains=2):
    """Points whose x are four clean numbers of the content, one of four classes, and one style, which the domain moves."""
    rng = np.random.default_rng(seed)
    domains, content = rng.integers(n_domains, size=N), rng.integers(4, size=N)
    style = rng.normal(3.0 * domains, 1.0)
    x = np.column_stack([np.eye(4)[content] + 0.05 * rng.normal(size=(N, 4)), style])
    return Split(x.astype(np.float32), domains, np.zeros((N, 0)), content, style[:, None])


INSTANCE = Instance(world(0), world(1), world(2), None, 2, None, None)
JUDGE = Judge(INSTANCE.train, 2)


def clean(split):
    return split.x[:, :4] @ np.arange(4)[:, None], split.x[:, 4:]


def scores(encode, decode=None):
    return factor_scores(INSTANCE, encode(INSTANCE.validation), encode(INSTANCE.test), JUDGE, decode)


def test_clean_blocks_leak_nothing_and_a_swap_keeps_one_and_brings_the_other():
    def decode(z):
        return np.column_stack([np.eye(4)[np.clip(np.round(z[:, 0]), 0, 3).astype(int)], z[:, 1]])

    found = scores(lambda split: np.hstack(clean(split)), decode)
    assert found["n_changing"] == 1
    assert found["content_from_content"] > 0.98 and found["style_from_style"] > 0.98
    assert found["domain_from_style"] > 0.9
    assert found["content_from_style"] == pytest.approx(0.25, abs=0.05) and found["content_chance"] == 0.25
    assert found["domain_from_content"] == pytest.approx(0.5, abs=0.05) and found["domain_chance"] == 0.5
    assert abs(found["style_from_content"]) < 0.02
    assert found["swap_content"] > 0.98 and found["swap_style"] > 0.95 and found["swap_domain"] > 0.9


def test_latents_that_mix_the_two_are_all_style_and_leave_no_content():
    found = scores(lambda split: np.hstack(clean(split)) @ [[1.0, 1.0], [1.0, -1.0]])
    assert found["n_changing"] == 2
    assert found["content_from_content"] == found["content_chance"] and found["domain_from_content"] == 0.5
    assert found["style_from_content"] == 0 and found["content_from_style"] > 0.9 and "swap_content" not in found


def test_a_decoder_that_ignores_the_style_brings_none():
    found = scores(lambda s: np.hstack(clean(s)), lambda z: np.tile(INSTANCE.test.x.mean(0), (len(z), 1)))
    assert found["swap_content"] == pytest.approx(0.25, abs=0.01) and found["swap_style"] < 0.05


def test_ceilings_are_what_the_judge_sees_in_real_points():
    seen = JUDGE(INSTANCE.test.x)
    found = scores(lambda split: np.hstack(clean(split)))
    recalls = [(seen.content[INSTANCE.test.content == k] == k).mean() for k in range(4)]
    assert found["content_ceiling"] == pytest.approx(np.mean(recalls)) and found["content_ceiling"] > 0.98
    assert found["style_ceiling"] == pytest.approx(r2_score(INSTANCE.test.style, seen.style))


@pytest.mark.parametrize("n_domains", [2, 5])
def test_style_is_what_says_something_of_the_domain_whatever_its_scale(n_domains):
    rng = np.random.default_rng(0)
    domains = rng.integers(n_domains, size=4000)
    shifted, scaled = rng.normal(domains, 1), rng.normal(0, 1 + domains)
    z_hat = np.column_stack([rng.normal(size=4000), shifted, np.exp(-shifted), scaled, np.zeros(4000)])
    assert is_style(z_hat, domains).tolist() == [False, True, True, True, False]
    assert not is_style(z_hat, np.zeros(4000, int)).any()


def test_the_boundary_is_the_mutual_information_of_another_library():
    rng = np.random.default_rng(1)
    domains = rng.integers(2, size=20_000)
    entropy = mutual_info_score(domains, domains)
    found, expected = [], []
    for shift in np.linspace(0.3, 0.7, 9):
        values = rng.normal(shift * domains, 1)
        bins = np.digitize(values, np.quantile(values, np.arange(1, 10) / 10))
        expected.append(mutual_info_score(bins, domains) - 9 / (2 * len(values)) > CHANGED * entropy)
        found.append(bool(is_style(values[:, None], domains)[0]))
    assert found == expected and len(set(found)) == 2


def test_a_swap_takes_the_style_of_another_point_and_keeps_the_rest():
    z_hat = np.arange(30.0).reshape(10, 3)
    mixed, other = swapped(z_hat, np.array([False, True, False]))
    np.testing.assert_array_equal(mixed[:, [0, 2]], z_hat[:, [0, 2]])
    np.testing.assert_array_equal(mixed[:, 1], z_hat[other, 1])
    assert sorted(other) == list(range(10))


def test_a_style_counts_on_the_points_that_have_it():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(50, 2))
    predicted = truth + 0.3 * rng.normal(size=truth.shape)
    holed = truth.copy()
    holed[:20, 1] = np.nan
    expected = (r2_score(truth[:, 0], predicted[:, 0]) + r2_score(truth[20:, 1], predicted[20:, 1])) / 2
    assert r2_of(holed, predicted) == pytest.approx(expected)


def test_the_distance_is_that_of_gaussians_of_these_moments():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)), 2 + rng.normal(size=(70, 6)) @ rng.normal(size=(6, 6))
    covariances = np.cov(a.T), np.cov(b.T)
    root = np.trace(sqrtm(covariances[0] @ covariances[1]).real)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + sum(map(np.trace, covariances)) - 2 * root
    assert frechet(a, b) == pytest.approx(expected) and frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, 3 + a) == pytest.approx(9 * 6)


class TestMadeImages:
    def test_real_points_of_the_domain_asked_for_are_at_the_ceiling(self):
        real = world(5)
        # Of each domain as many as are asked for, and by turns.
        rows = [iter(np.flatnonzero(real.domains == u)) for u in range(2)]
        order = [next(rows[u], None) for u in INSTANCE.test.domains]
        filled = [
            np.flatnonzero(real.domains == u)[0] if row is None else row
            for row, u in zip(order, INSTANCE.test.domains, strict=True)
        ]
        found = made_scores(INSTANCE, JUDGE, lambda domains: real.x[filled])
        assert found["made_content"] == pytest.approx(0.95, abs=0.03)
        assert found["made_content_ceiling"] == pytest.approx(0.95, abs=0.001)
        assert (
            found["made_domain"] == pytest.approx(found["made_domain_ceiling"], abs=0.03) and found["made_domain"] > 0.9
        )
        assert found["made_variety"] > 0.99
        assert found["made_distance"] < 0.1 * found["made_distance_chance"]

    def test_one_point_for_all_domains_has_no_variety_and_tells_no_domain(self):
        found = made_scores(INSTANCE, JUDGE, lambda domains: np.tile(INSTANCE.test.x[:1], (len(domains), 1)))
        assert found["made_variety"] == 0 and found["made_domain"] == 0.5
        assert found["made_distance"] > 10 * found["made_distance_ceiling"]

    def test_shuffled_pixels_are_the_chance_and_are_less_clear(self):
        found = made_scores(INSTANCE, JUDGE, lambda domains: INSTANCE.test.x)
        assert found["made_content_chance"] < 0.75 and found["made_domain_chance"] == pytest.approx(0.5, abs=0.05)
        assert found["made_distance"] == pytest.approx(0, abs=1e-6)

    def test_what_is_not_finite_has_no_scores(self):
        assert made_scores(INSTANCE, JUDGE, lambda domains: np.full((len(domains), 5), np.nan)) == {}


def test_every_score_is_declared():
    found = scores(lambda split: np.hstack(clean(split)), lambda z: INSTANCE.test.x)
    found |= made_scores(INSTANCE, JUDGE, lambda domains: INSTANCE.test.x)
    assert set(found) <= set(SCORES)


def test_an_image_is_judged_as_a_screen_shows_it():
    """More contrast than any image of the training part has makes nothing clearer."""
    low, high = INSTANCE.train.x.min(), INSTANCE.train.x.max()
    x = INSTANCE.test.x[:50]
    loud = np.where(x > 0.5, 40 * x, -40 * x)
    for found, expected in zip(vars(JUDGE(loud)).values(), vars(JUDGE(np.clip(loud, low, high))).values(), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(JUDGE.features(loud), JUDGE.features(np.clip(loud, low, high)))
