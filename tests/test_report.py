import shutil

import pandas as pd
import pytest

from bench import cli
from bench.store import Store
from registry import UsageError
from tests.simulated import simulated_run, simulated_trials


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folder of runs, in which a test puts its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "runs"


def report(capsys, *words):
    code = cli.main(["report", *words])
    return code, *capsys.readouterr()


def board(folder):
    return pd.read_csv(folder / "leaderboard.csv")


def test_a_condition_leaves_the_trials_for_which_it_holds_and_the_runs_own_report_as_it_was(runs, capsys):
    trials = simulated_trials()
    simulated_run(runs / "one", trials)
    assert report(capsys, "one", "--where", "domains <= 3 and method != 'ivae'", "--out", "part")[0] == 0
    found = board(runs.parents[1] / "part").set_index("label")
    own = trials[(trials.domains <= 3) & (trials.method != "ivae")]
    assert set(found.index) == set(own.method) and (found.n_trials == 12).all()
    mean = own[own.method == "synergy-vae"].mcc_spearman.mean()
    assert found.loc["synergy-vae", "mcc_spearman"] == pytest.approx(mean)
    assert not (runs / "one" / "leaderboard.csv").exists()
    assert len(pd.read_csv("part/trials.csv")) == len(own)


def test_what_is_left_by_two_conditions_goes_to_two_folders(runs, capsys):
    simulated_run(runs / "one", simulated_trials())
    for condition in ("domains<=3", "domains>=3"):
        assert report(capsys, "one", "--where", condition)[0] == 0
    assert len(list((runs.parent / "reports").iterdir())) == 2


def test_a_board_for_each_value_of_a_field(runs, capsys):
    trials = simulated_trials()
    simulated_run(runs / "one", trials)
    code, out, _ = report(capsys, "one", "--by", "violation")
    assert code == 0 and out.index("violation=0:") < out.index("violation=0.5:")
    found = board(runs / "one")
    assert found.violation.tolist() == [0.0] * 5 + [0.5] * 5
    assert found["rank"].dropna().tolist() == [1, 2, 1, 2]
    means = trials.groupby(["violation", "method"]).mcc_spearman.mean()
    assert found.set_index(["violation", "label"]).mcc_spearman.to_dict() == pytest.approx(means.to_dict())
    for kind in ("md", "tex"):
        assert "violation=0.5" in (runs / "one" / f"leaderboard.{kind}").read_text()


def test_runs_on_the_same_data_make_one_board(runs, capsys):
    trials = simulated_trials()
    first = trials.method != "ivae"
    simulated_run(runs / "one", trials[first])
    simulated_run(runs / "two", trials[~first | (trials.method == "random")], started_at="2027-01-01T00:00:00+00:00")
    code, out, _ = report(capsys, "one", "two")
    assert code == 0 and "left out" not in out  # what is in both runs is one trial
    together = runs.parent / "reports" / "one+two"
    simulated_run(runs / "whole", trials)
    assert report(capsys, "whole")[0] == 0
    columns = ["label", "n_trials", "mcc_spearman", "mcc_spearman_low"]
    pd.testing.assert_frame_equal(board(together)[columns], board(runs / "whole")[columns])
    assert (together / "figures" / "recovered_latents.png").exists()


def test_a_run_of_which_only_table_and_manifest_were_kept_is_reported_all_the_same(runs, capsys):
    simulated_run(runs / "one", simulated_trials())
    assert report(capsys, "one")[0] == 0
    kept = runs.parent / "kept"
    kept.mkdir()
    for name in ("trials.parquet", "manifest.json"):
        shutil.copy(runs / "one" / name, kept)
    assert report(capsys, str(kept))[0] == 0
    tables = [path.name for kind in ("md", "tex") for path in (runs / "one").glob(f"*.{kind}")]
    assert {"leaderboard.md", "leaderboard.tex", "synergy.md", "comparisons.md"} <= set(tables)
    for name in tables:
        assert (kept / name).read_text() == (runs / "one" / name).read_text()
    with pytest.raises(UsageError, match="only the table was kept"):
        Store(kept).finished()
    figures = {path.name for path in (kept / "figures").iterdir()}
    assert "phase_diagram.pdf" in figures and "recovered_latents.pdf" not in figures


def test_of_a_method_whose_code_changed_between_runs_the_last_version_counts(runs, capsys):
    trials = simulated_trials({"ivae": 0.5})
    new = trials.assign(mcc_spearman=0.9, trial_id=trials.trial_id + "-new")
    simulated_run(runs / "new", new, code="b", started_at="2027-01-01T00:00:00+00:00")
    simulated_run(runs / "old", trials, code="a")
    code, out, _ = report(capsys, "new", "old", "--out", "both")
    assert code == 0 and "18 trials of an earlier version" in out
    assert board(runs.parents[1] / "both").mcc_spearman.tolist() == [pytest.approx(0.9)]


def test_runs_on_other_data_are_refused_with_the_reason(runs, capsys):
    simulated_run(runs / "one", simulated_trials(), data_version=1)
    simulated_run(runs / "two", simulated_trials(), data_version=2)
    code, out, err = report(capsys, "one", "two")
    assert code == 2 and out == "" and "one has version 1, two has version 2" in err
    assert not (runs.parent / "reports").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "domain<=4"], "did you mean 'domains'?"),
        (["--where", "domains<="], "cannot be read"),
        (["--where", "domains=4"], "is no condition"),
        (["--where", "domains"], "is no condition"),
        (["--where", "method > 3"], "cannot be read"),
        (["--where", "domains>99"], "holds for none of the 90 trials"),
        (["--by", "violations"], "did you mean 'violation'?"),
        (["--style", "nosuch"], "no style 'nosuch'"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(words, message, runs, capsys):
    simulated_run(runs / "one", simulated_trials())
    code, out, err = report(capsys, "one", *words)
    assert code == 2 and out == ""
    assert message in err and err.count("\n") == 1
    assert not (runs / "one" / "leaderboard.md").exists() and not (runs.parent / "reports").exists()


def test_a_style_of_matplotlib_is_in_the_figures(runs, capsys):
    simulated_run(runs / "one", simulated_trials())
    drawn = []
    for style in ([], ["--style", "ggplot"]):
        assert report(capsys, "one", *style)[0] == 0
        drawn.append((runs / "one" / "figures" / "score_lines.svg").read_text())
    assert drawn[0] != drawn[1]
