"""Re-splits of one data set are no evidence about new data: no table, verdict or figure makes a claim from them."""

import numpy as np
import pandas as pd
import pytest

from bench.report import compare, html, leaderboard, losses, pairs, recovery, synergy
from bench.report import results as report
from bench.report.figures import (
    cost_and_score,
    critical_difference,
    performance_profiles,
    phase_diagram,
    recovery_by_promise,
    score_lines,
    synergy_map,
)
from bench.scores.statistics import mean_interval, spread
from datasets.oracle import PROMISES
from tests.simulated import ladder_trials, results, simulated_run, simulated_trials

LEVELS = {"ivae": 0.6, "vae": 0.7, "synergy-vae": 0.9}


def resplit(trials):
    return trials.assign(resplits=True)


@pytest.fixture
def own():
    return results(resplit(simulated_trials(LEVELS, domains=(3,), violations=(0.0,), seeds=10)))


def test_means_have_the_range_of_the_re_splits_in_the_place_of_an_interval(own):
    rows = report.summary(own.trials, ["label"])
    for row in rows.itertuples():
        scores = own.trials[own.trials.label == row.label].mcc_spearman
        assert (row.mcc_spearman_low, row.mcc_spearman_high) == (scores.min(), scores.max())
    single = report.summary(own.trials[own.trials.seed == 0], ["label"])
    assert single.mcc_spearman_low.isna().all() and single.mcc_spearman.notna().all()


def test_the_leaderboard_says_so_and_calls_no_difference_significant(own):
    table = leaderboard.table(own)
    text = leaderboard.render(table, own)
    assert "[spread over re-splits: least, greatest] over 10 re-splits of one data set" in text and "no test" in text
    assert "95 %" not in text and "data seeds;" not in text
    assert not table.filter(like="_tied").any(axis=None) and "significant" not in leaderboard.ties(own)


def test_comparisons_have_differences_and_no_p(own, tmp_path):
    rows = pairs.write(own, tmp_path)
    assert len(rows) == 3 and rows.filter(regex="^p").isna().all(axis=None)
    first = rows.iloc[0]
    assert first.difference_low < first.difference < first.difference_high and np.isnan(first.improvement)
    text = (tmp_path / "comparisons.md").read_text()
    assert "re-splits of one data set" in text and "<.001" not in text and "95 %" not in text
    assert "better" not in text.split("There is no p")[0] and "| p " not in text


def test_no_verdict_is_given():
    trials = resplit(ladder_trials(both=0.3, seeds=10))
    own = results(trials)
    rows = synergy.table(own)
    assert rows.empty
    assert synergy.verdicts(own, rows) == [
        "VAE ladder: synergy cannot be judged, since all data seeds are re-splits of one data set, which are no evidence about new data."
    ]


def test_the_table_of_synergy_says_why_there_is_none_and_speaks_of_no_interval(tmp_path):
    own = results(resplit(ladder_trials(both=0.3, seeds=10)))
    synergy.write(own, tmp_path)
    text = (tmp_path / "synergy.md").read_text()
    assert "cannot be judged" in text and "95 %" not in text and "p:" not in text


def test_average_ranks_are_not_drawn(own, tmp_path):
    assert critical_difference(own, tmp_path) == []
    assert critical_difference(results(own.trials.assign(resplits=False)), tmp_path)


def test_two_runs_are_compared_without_a_claim(tmp_path):
    first = resplit(simulated_trials(LEVELS, seeds=10))
    second = first.assign(mcc_spearman=first.mcc_spearman + 0.05)
    sides = [report.gather([simulated_run(tmp_path / name, each)]) for name, each in (("a", first), ("b", second))]
    text, rows = compare.render(*sides)
    assert "re-splits of one data set" in text and "cells changed" not in text and "95 %" not in text
    assert "  p  " not in text and rows.p.isna().all() and rows.difference.round(6).eq(0.05).all()


def test_independent_data_sets_of_a_user_keep_their_intervals_and_tests(own):
    independent = results(own.trials.assign(resplits=False))
    assert "95 % studentised-bootstrap interval" in leaderboard.render(leaderboard.table(independent), independent)
    assert pairs.table(independent).p.notna().all()
    assert independent.over_seeds is mean_interval and own.over_seeds is spread


def test_one_of_several_data_sets_counts_once_under_whatever_root_seed(tmp_path):
    first = simulated_trials(LEVELS, seeds=4).assign(resplits=False, replicates=4)
    second = first.assign(trial_id=first.trial_id + "-other", root_seed=1)
    stores = [simulated_run(tmp_path / name, each) for name, each in (("a", first), ("b", second))]
    own = report.gather(stores)
    assert own.trials.seed.nunique() == 4 and report.summary(own.trials, ["label"]).n_seeds.eq(4).all()
    generated = [
        simulated_run(tmp_path / f"{name}-generated", each.assign(replicates=None))
        for name, each in (("a", first), ("b", second))
    ]
    assert report.gather(generated).trials.seed.nunique() == 8


def test_what_is_recovered_of_a_promise_is_given_with_the_spread_over_re_splits(tmp_path):
    verdicts = {name: [["yes", "yes"]] * 30 for name in PROMISES}
    trials = simulated_trials(LEVELS, domains=(3,), violations=(0.0,), seeds=10)
    trials = trials.assign(**verdicts, mcc_per_latent=[[score, score] for score in trials.mcc_spearman])
    own = results(resplit(trials))
    rows = recovery.write(own, tmp_path)
    scores = trials[trials.method == "ivae"].mcc_spearman
    mine = rows[rows.label == "ivae"].iloc[0]
    np.testing.assert_allclose([mine.score_low, mine.score_high], [scores.min(), scores.max()])
    text = (tmp_path / "recovery.md").read_text()
    assert "spread over re-splits" in text and "95 %" not in text
    caption = [path for path in recovery_by_promise(own, tmp_path) if path.suffix == ".txt"][0].read_text()
    assert "spread over re-splits" in " ".join(caption.split()) and "95 %" not in caption


def test_the_captions_of_figures_speak_of_re_splits_alone(tmp_path):
    own = results(resplit(ladder_trials(both=0.3, seeds=10)))
    paths = [
        path
        for draw in (score_lines, cost_and_score, performance_profiles, phase_diagram, synergy_map)
        for path in draw(own, tmp_path)
    ]
    captions = {path.stem: " ".join(path.read_text().split()) for path in paths if path.suffix == ".txt"}
    assert set(captions) == {"score_lines", "cost_score", "performance_profiles", "phase_diagram"}
    for caption in captions.values():
        assert "spread over re-splits" in caption and "95 %" not in caption and "data seeds" not in caption


def test_rows_that_do_not_say_it_are_of_one_file():
    trials = simulated_trials(LEVELS)
    assert report.is_resplit(results(trials.assign(dataset="file")).trials)
    assert not report.is_resplit(results(trials).trials)
    assert report.is_resplit(pd.concat([trials.assign(resplits=False), resplit(trials)]))


def test_a_spread_has_the_shape_of_an_interval_and_leaves_missing_scores_out():
    scores = np.array([[[0.1, np.nan], [0.5, 0.3], [0.3, np.nan]]])
    found = spread(scores)
    np.testing.assert_allclose(found.mean, [[0.3, 0.3]])
    np.testing.assert_allclose(found.low, [[0.1, np.nan]])
    np.testing.assert_allclose(found.high, [[0.5, np.nan]])
    assert np.isnan(found.p).all() and np.isnan(spread(scores[:, :0]).mean).all()


def test_the_report_in_a_browser_makes_no_claim_either(tmp_path, own):
    from bench.report.results import gather

    store = simulated_run(tmp_path / "run", own.trials.drop(columns=["label", "stratum"]))
    found = gather([store])
    path = html.write(found, leaderboard.boards(found), pairs.table(found), tmp_path)
    text = path.read_text()
    assert "re-splits of one data set" in text and "significant" not in text and "Holm" not in text
    assert losses.table(found).empty
