"""Starts at the truth beside starts from the chart: what a score lacks, by cause."""

import numpy as np
import pandas as pd
import pytest

from bench.report import losses
from tests.simulated import results, simulated_trials

NOISE = np.random.default_rng(0).normal(size=16)


def trials():
    """Two methods from the chart and from the truth, in two cells with four data seeds; every second start from the chart ends 1 nat above."""
    usual = simulated_trials({"flow-vae": 0.8, "synergy-vae": 0.9}, domains=(2, 3), violations=(0.0,), seeds=4)
    usual = usual.assign(root_seed=0, agreement=0.7, n_ties=2, start="chart", mcc_spearman=0.8)
    usual["objective_blocks"] = [(NOISE + (seed % 2)).tolist() for seed in usual["seed"]]
    truth = usual.assign(start="truth", role="oracle", mcc_spearman=0.95, trial_id=usual["trial_id"] + "-truth")
    truth["objective_blocks"] = [(NOISE + 1e-3 * (NOISE - NOISE.mean())).tolist() for _ in range(len(truth))]
    return pd.concat([usual, truth], ignore_index=True)


def test_what_a_score_lacks_is_the_sum_of_the_three_losses_each_where_it_belongs():
    pairs = losses.pairs(results(trials()))
    assert len(pairs) == 2 * 2 * 4
    np.testing.assert_allclose(1 - pairs["score"], pairs[list(losses.PARTS)].sum(axis=1))
    worse = pairs["seed"] % 2 == 1
    assert (pairs["is_worse"] == worse).all()
    np.testing.assert_allclose(pairs["gap"], worse.astype(float), atol=0.01)
    np.testing.assert_allclose(pairs["optimisation"], 0.15 * worse)
    np.testing.assert_allclose(pairs["identifiability"], 0.15 * ~worse)
    np.testing.assert_allclose(pairs["sample"], 0.05)


def test_the_table_has_the_means_of_each_method_and_cell():
    rows = losses.table(results(trials()))
    assert rows[["method", "domains"]].to_numpy().tolist() == [
        ["flow-vae", 2], ["flow-vae", 3], ["synergy-vae", 2], ["synergy-vae", 3],
    ]  # fmt: skip
    assert (rows["n_seeds"] == 4).all() and (rows["worse"] == 0.5).all() and (rows["far"] == 0.5).all()
    np.testing.assert_allclose(rows[list(losses.PARTS)], [[0.075, 0.075, 0.05]] * 4)
    assert (rows["optimisation_low"] < rows["optimisation"]).all()
    assert "flow-vae: .800 from the chart; .075 lost to optimisation" in losses.sentences(rows)[0]


def test_a_start_from_the_chart_that_ends_below_the_truths_is_not_lost_to_optimisation():
    own = trials()
    own["objective_blocks"] = [
        (np.array(blocks) - 5 * (start == "chart")).tolist()
        for blocks, start in zip(own["objective_blocks"], own["start"], strict=True)
    ]
    pairs = losses.pairs(results(own))
    assert not pairs["is_worse"].any() and (pairs["optimisation"] == 0).all()


def test_beside_the_truth_fewer_restarts_are_enough_and_of_several_runs_the_one_with_most_counts():
    own = trials().assign(restarts=4)
    truth = own[own["start"] == "truth"]
    once = truth.assign(restarts=1, trial_id=truth["trial_id"] + "-once")
    alone = losses.pairs(results(pd.concat([own[own["start"] == "chart"], once], ignore_index=True)))
    assert len(alone) == 16 and (alone["truth"] == 0.95).all()
    worse = once.assign(mcc_spearman=0.5)
    both = losses.pairs(results(pd.concat([own, worse], ignore_index=True)))
    assert len(both) == 16 and (both["truth"] == 0.95).all()


def test_trials_that_differ_in_more_than_their_start_or_failed_make_no_pair(tmp_path):
    own = trials()
    own.loc[own["start"] == "truth", "steps"] = 200
    assert losses.table(results(own)).empty and losses.sentences(losses.table(results(own))) == []
    failed = trials()
    failed.loc[(failed["start"] == "truth") & (failed["seed"] == 0), ["status", "mcc_spearman"]] = ["diverged", np.nan]
    assert len(losses.pairs(results(failed))) == 2 * 2 * 3
    assert losses.write(results(own), tmp_path).empty and not list(tmp_path.iterdir())


@pytest.mark.parametrize("column", ["start", "objective_blocks"])
def test_runs_of_old_that_know_no_starts_have_no_table(column):
    assert losses.table(results(trials().drop(columns=column))).empty


def test_the_written_table_says_what_its_columns_mean(tmp_path):
    losses.write(results(trials()), tmp_path)
    text = (tmp_path / "losses.md").read_text()
    assert "lost to identifiability" in text and "domains=2" in text and "an oracle" in text
    assert len(pd.read_csv(tmp_path / "losses.csv")) == 4
