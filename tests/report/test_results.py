import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest

from bench import scores
from bench.registry import UsageError
from bench.report import leaderboard, synergy
from bench.report import results as report
from bench.run.store import Store
from tests.simulated import (
    MANIFEST,
    STRATA,
    facts,
    fail,
    ladder_trials,
    results,
    simulated_run,
    simulated_trials,
    strata_trials,
)


def test_settings_that_vary_within_a_method_are_in_its_label_and_no_others():
    trials = simulated_trials()
    other = trials[trials.method == "synergy-vae"].assign(alpha=1.0)
    names = set(results(pd.concat([trials, other], ignore_index=True)).trials.label)
    assert names == {"synergy-vae (alpha=0.1)", "synergy-vae (alpha=1)", "ivae", "supervised", "random", "identity"}
    assert "synergy-vae" in set(results(trials).trials.label)


def test_the_labels_of_a_part_name_what_varies_in_it():
    trials = simulated_trials()
    other = trials[trials.method == "synergy-vae"].assign(alpha=1.0)
    whole = results(pd.concat([trials, other], ignore_index=True))
    part = whole.replaced(whole.trials[~whole.trials.alpha.eq(1.0)])
    assert "synergy-vae" in set(part.trials.label) and len(part.trials) == len(trials)
    assert part.trials.index.tolist() == list(range(len(trials)))


def test_cells_are_the_dataset_fields_that_vary():
    assert results(simulated_trials()).cells == ["domains", "violation"]
    assert results(simulated_trials(domains=[2], violations=[0.0])).cells == []


def test_the_stratum_of_a_trial_is_what_its_data_set_says_of_its_fields():
    own = results(strata_trials(ladder_trials(cells=2)))
    for words, (violation, twins) in STRATA.items():
        is_own = own.trials.violation.eq(violation) & own.trials.twins.fillna(-1).eq(-1 if np.isnan(twins) else twins)
        assert set(own.trials.stratum[is_own]) == {words}
    other = ladder_trials(cells=2).assign(dataset="dictionary")
    assert results(other).trials.stratum.isna().all()


def test_a_damaged_row_has_no_stratum():
    own = results(ladder_trials(cells=2).assign(violation=0.3))
    assert own.trials.stratum.isna().all()


def test_the_stratum_is_a_dial_in_the_place_of_the_fields_that_it_sums_up_where_several_vary():
    trials = strata_trials(ladder_trials(cells=2))
    assert results(trials).cells == ["domains", "twins", "violation"]
    assert results(trials).dials() == ["domains", "stratum"]
    one = results(trials[trials.twins.isna()])
    assert one.dials() == ["domains", "violation"] and one.dials(at_least=1) == ["domains", "stratum"]
    assert results(ladder_trials(cells=2)).dials(at_least=1) == ["domains"]


def test_an_unset_field_and_a_missing_one_are_one_value():
    trials = simulated_trials({"ivae": 0.8}, domains=[2], violations=[0.0], seeds=4).astype({"twins": object})
    trials["twins"] = [None, np.nan] * 2
    assert results(trials).cells == []
    assert results(trials.assign(twins=[0.5, None, None, None])).cells == ["twins"]


def test_two_data_sets_are_cells_of_their_own():
    trials = simulated_trials(domains=[2], violations=[0.0])
    both = pd.concat([trials, trials.assign(dataset="other")], ignore_index=True)
    assert results(both).cells == ["dataset"]


def test_a_trial_that_claims_to_be_ok_without_a_score_failed_unless_the_truth_is_unknown():
    trials = simulated_trials({"ivae": 0.8}).assign(mcc_spearman=np.nan)
    assert not results(trials).ok.any() and results(trials).failed.all()
    unknown = results(trials.assign(has_truth=False))
    assert unknown.ok.all() and not unknown.failed.any()


def test_a_trial_that_does_not_apply_is_neither_ok_nor_failed():
    own = results(fail(simulated_trials({"ivae": 0.8}), method="ivae").assign(status="not-applicable"))
    assert not own.ok.any() and not own.failed.any()


def test_scores_that_an_early_run_lacks_are_nan():
    own = results(simulated_trials().drop(columns="mcc_within"))
    assert own.trials.mcc_within.isna().all() and set(scores.SCORES) <= set(own.trials)


def test_what_is_known_of_methods_is_what_the_manifest_keeps_and_no_file_that_it_names_is_executed(tmp_path):
    """A plug-in's own field makes labels although the plug-in is not loaded."""
    store = simulated_run(tmp_path / "one", simulated_trials({"mine": 0.8}).assign(knob=[1, 2] * 9))
    plugin = tmp_path / "plugin.py"
    plugin.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    methods, datasets = facts()
    mine = dataclasses.replace(methods["ivae"], fields=("knob",), ladder="Mine", corner="changes", summary="My method.")
    manifest = store.manifest()
    manifest["commands"][-1]["config"]["plugins"] = [str(plugin)]
    kept = {name: dataclasses.asdict(entry) for name, entry in {**methods, "mine": mine}.items()}
    manifest |= {"methods": kept, "datasets": {name: dataclasses.asdict(entry) for name, entry in datasets.items()}}
    store.write_manifest(manifest)
    own = report.gather([store])
    assert set(own.trials.label) == {"mine (knob=1)", "mine (knob=2)"}
    assert own.methods["mine"] == mine and own.datasets == datasets
    assert not (tmp_path / "executed").exists()


def test_a_score_of_a_plug_in_that_is_not_loaded_is_what_the_manifest_keeps(tmp_path):
    store = simulated_run(tmp_path / "one", simulated_trials().assign(mine=0.25))
    mine = scores.Score("mine", "How much.", "me", ("my", "score"), "Mine", ("terminal",), lower_is_better=True)
    store.write_manifest(store.manifest() | {"scores": {"mine": mine.facts}})
    own = report.gather([store])
    assert dataclasses.replace(own.scores["mine"], tables=("terminal",)) == mine
    assert "mine" in own.shown("terminal") and "mine" not in own.shown("paper")
    assert "mine" not in scores.SCORES


def test_missing_trials_are_counted_by_method_and_the_command_that_asked_for_them_is_named(tmp_path):
    trials = simulated_trials()
    lost = (trials.method == "ivae") & (trials.domains == 3) | (trials.method == "random") & (trials.seed == 0)
    own = report.gather([simulated_run(tmp_path / "one", trials[~lost], planned=trials)])
    assert own.missing == {"ivae": 6, "random": 6} and own.n_planned == 90
    command = MANIFEST["commands"][0]["command"]
    assert own.missing_text == (
        f"12 of 90 planned trials have no result yet (ivae 6, random 6); `python {command}` goes on with them."
    )
    part = report.gather([Store(tmp_path / "one")], "method == 'supervised'")
    assert part.missing_text == own.missing_text  # they are the run's


def test_a_whole_run_and_an_early_one_that_recorded_no_plan_miss_nothing(tmp_path):
    store = simulated_run(tmp_path / "one", simulated_trials())
    assert report.gather([store]).missing_text == ""
    (store.folder / "planned.csv").unlink()
    early = report.gather([store])
    assert early.missing_text == "" and early.n_planned == 0


def test_what_one_run_misses_and_another_has_is_not_missing(tmp_path):
    trials = simulated_trials()
    first = trials.method != "ivae"
    stores = [
        simulated_run(tmp_path / "one", trials[first], planned=trials),
        simulated_run(tmp_path / "two", trials[~first]),
    ]
    assert report.gather(stores[:1]).missing == {"ivae": 18}
    assert report.gather(stores).missing == {}


def test_trials_planned_for_earlier_code_are_not_missing(tmp_path):
    trials = simulated_trials({"ivae": 0.5})
    simulated_run(tmp_path / "old", trials[:6], code="a", planned=trials)
    new = trials.assign(trial_id=trials.trial_id + "-new")
    simulated_run(tmp_path / "new", new, code="b", started_at="2027-01-01T00:00:00+00:00")
    own = report.gather([Store(tmp_path / "old"), Store(tmp_path / "new")])
    assert own.missing == {} and own.n_planned == 18 and own.n_superseded == 6


def test_reading_writes_nothing(tmp_path):
    store = simulated_run(tmp_path / "one", simulated_trials())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    report.gather([store])
    report.gather([store], "domains < 4")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_several_runs_keep_what_each_knows_and_the_newest_counts(tmp_path):
    for name, summary, year in (("one", "Old.", 2026), ("two", "New.", 2027)):
        store = simulated_run(tmp_path / name, simulated_trials(), started_at=f"{year}-01-01T00:00:00+00:00")
        methods, datasets = ({each: dataclasses.asdict(entry) for each, entry in known.items()} for known in facts())
        methods["ivae"]["summary"] = summary
        methods[name] = methods["vae"]
        store.write_manifest(store.manifest() | {"methods": methods, "datasets": datasets})
    own = report.gather([Store(tmp_path / "two"), Store(tmp_path / "one")])
    assert own.methods["ivae"].summary == "New." and {"one", "two"} <= set(own.methods)


@pytest.mark.parametrize(
    ("kind", "kept", "message"),
    [
        ("methods", [], "in 'methods', 'methods' is not a table of names and values"),
        ("methods", {"ivae": 3}, "it is no table"),
        ("methods", {"ivae": {"summary": "It."}}, "'source' is missing"),
        ("datasets", {"x": {"summary": 1}}, "'summary' is not a text"),
        ("scores", {"x": {"name": "x"}}, "'definition' is missing"),
    ],
)
def test_a_manifest_that_says_nothing_readable_of_a_method_is_one_sentence(tmp_path, kind, kept, message):
    store = simulated_run(tmp_path / "one", simulated_trials())
    store.write_manifest(store.manifest() | {kind: kept})
    with pytest.raises(UsageError, match=message):
        report.gather([store])


def test_what_is_made_once_of_results_is_kept_with_these_and_no_others():
    asked = []

    @report.once
    def made(own, by, *, of="all"):
        asked.append((by, of))
        return object()

    first, second = results(simulated_trials()), results(simulated_trials())
    assert made(first, ["a"]) is made(first, ["a"]) and len(asked) == 1
    assert made(first, ["b"]) is not made(first, ["a"]) and made(first, ["a"], of="some") is not made(first, ["a"])
    assert made(second, ["a"]) is not made(first, ["a"])
    assert made(first.replaced(first.trials), ["a"]) is not made(first, ["a"])


def test_results_can_be_pickled_with_what_was_made_of_them_and_a_reader_may_change_a_table():
    own = results(ladder_trials(cells=2))
    made = leaderboard.table(own), synergy.table(own)
    again = pickle.loads(pickle.dumps(own))
    pd.testing.assert_frame_equal(leaderboard.table(again), made[0])
    pd.testing.assert_frame_equal(synergy.table(again, by=("domains",)), synergy.table(own, by=["domains"]))
