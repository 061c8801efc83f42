import numpy as np
import pytest

from bench.scores.training import agreement, reconstruction_error, ties


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(500, 3))


def test_copies_up_to_order_sign_and_monotone_maps_agree_fully(points):
    copy = np.stack([-(points[:, 2] ** 3), np.exp(points[:, 0]), 5 - points[:, 1]], axis=1)
    assert agreement([points, copy]) == pytest.approx(1, abs=1e-12)
    assert agreement([points, copy, -copy]) == pytest.approx(1, abs=1e-12)


def test_a_rotation_agrees_less_the_further_it_turns(points):
    def turned(angle):
        turn = np.eye(3)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return agreement([points, points @ turn])

    values = [turned(angle) for angle in (0, 0.2, 0.5, np.pi / 4)]
    assert values == sorted(values, reverse=True)
    # Two of three latents are mixtures in equal parts: Spearman's rho of Gaussians that correlate by r is 6/pi asin(r/2).
    assert values[-1] == pytest.approx((1 + 2 * 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)) / 3, abs=0.03)


def test_latents_that_collapsed_agree_with_nothing(points):
    collapsed = points * [1, 1, 0]
    assert agreement([collapsed, collapsed]) == pytest.approx(2 / 3, abs=1e-12)


def test_three_models_count_as_their_three_pairs(points):
    other = np.random.default_rng(1).normal(size=(500, 3))
    pair = agreement([points, other])
    assert agreement([points, other, points]) == pytest.approx((2 * pair + 1) / 3, abs=1e-12)


def test_the_reconstruction_error_is_the_part_of_the_variance_that_is_not_explained():
    x = np.array([[0.0, 1.0], [2.0, 5.0]])
    assert reconstruction_error(x, np.broadcast_to(x.mean(axis=0), x.shape)) == 1
    assert reconstruction_error(x, x) == 0
    assert reconstruction_error(x, x + [[1.0, 0.0], [0.0, 0.0]]) == pytest.approx(1 / 10)


def test_ties_are_within_two_standard_errors_of_the_best_by_paired_differences():
    rng = np.random.default_rng(0)
    shared = 10 * rng.normal(size=16)  # how hard the blocks are: of no matter to a paired difference
    unit = rng.normal(size=16)
    unit = (unit - unit.mean()) / (unit.std(ddof=1) / 4)  # its mean has a standard error of 1
    best = shared + 5.0
    models = np.stack([best + 1.9 + unit, best, best + 2.1 + unit, best + 0.01])
    assert ties(models).tolist() == [True, True, False, False]


def test_what_is_not_finite_is_no_tie_and_with_one_block_only_equals_are():
    assert ties(np.array([[np.nan, 1.0], [2.0, 3.0], [2.0, 3.0]])).tolist() == [False, True, True]
    assert ties(np.array([[1.0], [1.0], [1.1]])).tolist() == [True, True, False]


def test_models_that_differ_by_chance_alone_are_mostly_ties():
    rng = np.random.default_rng(1)
    found = [ties(rng.normal(size=(2, 16))).all() for _ in range(2000)]
    # |t| of 15 degrees of freedom is above 2 in 6.4 % of draws.
    assert np.mean(found) == pytest.approx(0.936, abs=0.02)
