import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from scipy import stats

from bench.report import pairs
from bench.scores.statistics import mean_interval
from tests.simulated import fail, results, simulated_trials

LEVELS = {"vae": 0.6, "ivae": 0.8, "synergy-vae": 0.805, "supervised": 0.99, "random": 0.4}


def table(trials):
    return pairs.table(results(trials))


def by_seed(trials):
    """(n_seeds, n_methods) mean scores over cells, a column per method."""
    return trials.pivot_table(index="seed", columns="method", values="mcc_spearman", aggfunc="mean")


def test_every_pair_of_methods_has_one_row_and_floors_and_ceiling_none():
    rows = table(simulated_trials(LEVELS))
    assert list(zip(rows.better, rows.worse, strict=True)) == [
        ("synergy-vae", "ivae"), ("synergy-vae", "vae"), ("ivae", "vae"),
    ]  # fmt: skip


def test_difference_interval_and_improvement_are_of_the_means_of_each_seed():
    trials = simulated_trials(LEVELS, seeds=10)
    wide = by_seed(trials)
    for row in table(trials).itertuples():
        difference = (wide[row.better] - wide[row.worse]).to_numpy()
        found = [row.difference, row.difference_low, row.difference_high, row.p]
        np.testing.assert_allclose(found, np.ravel(mean_interval(difference[:, None])))
        assert row.improvement == np.mean(difference > 0)
        assert row.p_wilcoxon == stats.wilcoxon(difference).pvalue


def test_holms_correction_is_that_of_scikit_posthocs_over_all_pairs():
    trials = simulated_trials(LEVELS, seeds=12)
    wide = by_seed(trials)[["synergy-vae", "ivae", "vae"]]
    expected = scikit_posthocs.posthoc_wilcoxon(wide.to_numpy().T, p_adjust="holm").to_numpy()
    np.testing.assert_allclose(table(trials).p_wilcoxon_holm, expected[np.triu_indices(3, 1)])


def test_what_one_of_two_methods_lacks_is_left_out_for_both():
    trials = fail(simulated_trials(LEVELS, seeds=8), method="ivae", domains=3)
    row = table(trials).query("better == 'synergy-vae' and worse == 'ivae'").iloc[0]
    rest = table(simulated_trials(LEVELS, seeds=8).query("domains != 3")).iloc[0]
    assert row.difference == pytest.approx(rest.difference, abs=0.01) and row.n_seeds == 8
    wide = by_seed(trials[trials.domains != 3])
    assert row.difference == pytest.approx((wide["synergy-vae"] - wide["ivae"]).mean())


def test_the_files_hold_the_table_and_one_method_alone_has_none(tmp_path):
    pairs.write(results(simulated_trials(LEVELS)), tmp_path)
    assert len(pd.read_csv(tmp_path / "comparisons.csv")) == 3
    assert "| synergy-vae | ivae" in (tmp_path / "comparisons.md").read_text()
    pairs.write(results(simulated_trials({"ivae": 0.8})), tmp_path / "none")
    assert not (tmp_path / "none").exists()
