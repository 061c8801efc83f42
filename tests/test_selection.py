import numpy as np
import pandas as pd
import pytest

from bench import selection
from bench.selection import agreement


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


def table(**columns):
    return pd.DataFrame({"consistency": np.nan, "fit": np.nan, "sparsity": np.nan, "mcc_spearman": np.nan} | columns)


def test_of_the_configurations_that_fit_about_as_well_as_the_best_the_sparsest_is_chosen():
    found = table(fit=[1.0, 1.08, 1.2, 1.05], sparsity=[9.0, 7.0, 3.0, 8.0], consistency=[0.9, 0.8, 1.0, 0.95])
    assert selection.fit_then_sparsest(found, tolerance=0.1) == 1
    assert selection.fit_then_sparsest(found, tolerance=0.3) == 2
    assert selection.fit_then_sparsest(found, tolerance=0) == 0
    assert selection.fit_then_consistent(found, tolerance=0.1) == 3


def test_every_rule_chooses_by_its_own_column_and_only_the_oracle_by_the_truth():
    found = table(
        consistency=[0.9, 0.7, 0.8], fit=[1.0, 1.0, 1.0], sparsity=[3.0, 2.0, 1.0], mcc_spearman=[0.1, 0.9, 0.5]
    )
    chosen = {name: rule(found) for name, rule in selection.RULES.items()}
    assert chosen == {"consistency": 0, "fit-then-sparsest": 2, "fit-then-consistent": 0, "oracle": 1}
    blind = found.assign(mcc_spearman=np.nan)
    assert {name: rule(blind) for name, rule in selection.RULES.items()} == chosen | {"oracle": None}


def test_what_was_not_measured_is_not_chosen_and_a_rule_without_numbers_chooses_nothing():
    found = table(consistency=[np.nan, 0.5], fit=[np.nan, 2.0], sparsity=[1.0, 5.0])
    assert selection.consistency(found) == selection.fit_then_sparsest(found) == 1
    assert selection.fit_then_sparsest(table(fit=[1.0, 2.0])) is None  # a method without a decoder has no sparsity
