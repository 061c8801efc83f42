import numpy as np
import pandas as pd

from bench.tune import rules


def table(**columns):
    return pd.DataFrame({"consistency": np.nan, "fit": np.nan, "sparsity": np.nan, "mcc_spearman": np.nan} | columns)


def test_of_the_configurations_that_fit_about_as_well_as_the_best_the_sparsest_is_chosen():
    found = table(fit=[1.0, 1.08, 1.2, 1.05], sparsity=[9.0, 7.0, 3.0, 8.0], consistency=[0.9, 0.8, 1.0, 0.95])
    assert rules.fit_then_sparsest(found, tolerance=0.1) == 1
    assert rules.fit_then_sparsest(found, tolerance=0.3) == 2
    assert rules.fit_then_sparsest(found, tolerance=0) == 0
    assert rules.fit_then_consistent(found, tolerance=0.1) == 3


def test_every_rule_chooses_by_its_own_column_and_only_the_oracle_by_the_truth():
    found = table(
        consistency=[0.9, 0.7, 0.8], fit=[1.0, 1.0, 1.0], sparsity=[3.0, 2.0, 1.0], mcc_spearman=[0.1, 0.9, 0.5]
    )
    chosen = {name: rule(found) for name, rule in rules.RULES.items()}
    assert chosen == {"consistency": 0, "fit-then-sparsest": 2, "fit-then-consistent": 0, "oracle": 1}
    blind = found.assign(mcc_spearman=np.nan)
    assert {name: rule(blind) for name, rule in rules.RULES.items()} == chosen | {"oracle": None}


def test_what_was_not_measured_is_not_chosen_and_a_rule_without_numbers_chooses_nothing():
    found = table(consistency=[np.nan, 0.5], fit=[np.nan, 2.0], sparsity=[1.0, 5.0])
    assert rules.consistency(found) == rules.fit_then_sparsest(found) == 1
    assert rules.fit_then_sparsest(table(fit=[1.0, 2.0])) is None  # a method without a decoder has no sparsity
