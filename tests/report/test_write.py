import errno
import os
import shutil

import pandas as pd
import pytest

from bench import cli, scores
from bench.registry import UsageError
from bench.report import write
from bench.run.store import Store
from tests.conftest import long
from tests.simulated import results, simulated_run, simulated_trials


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


@pytest.mark.usefixtures("without_figures")
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


@pytest.mark.usefixtures("without_figures")
def test_what_is_left_by_two_conditions_goes_to_two_folders(runs, capsys):
    simulated_run(runs / "one", simulated_trials())
    for condition in ("domains<=3", "domains>=3"):
        assert report(capsys, "one", "--where", condition)[0] == 0
    assert len(list((runs.parent / "reports").iterdir())) == 2


@pytest.mark.usefixtures("without_figures")
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


@pytest.mark.usefixtures("without_figures")
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
        (["--where", "domains=4"], "cannot be read as a condition; compare columns with constants"),
        (["--where", "domains"], "is no condition"),
        (["--where", "method > 3"], "method holds texts"),
        (["--where", "domains>99"], "holds for none of the 90 trials"),
        (["--where", "domains.to_csv('written')"], "is no condition"),
        (["--where", "@pd.io.common.os.system('touch written')"], "cannot be read"),
        (["--by", "violations"], "did you mean 'violation'?"),
        (["--by", "mcc_per_latent"], "holds a list for each trial"),
        (["--out", "file/out"], "file/out cannot be written (Not a directory); name another folder with --out"),
        (["--style", "nosuch"], "no style 'nosuch'"),
        (["--width", "icml-colum"], "there is no width 'icml-colum': say inches, or one of iclr, neurips"),
        (["--width", "nan"], "widths of 3 to 12 inches, not nan"),
        (["--width", "1e9"], "widths of 3 to 12 inches"),
        (["--columns", "mcc_spearmen"], "there is no column 'mcc_spearmen'; did you mean 'mcc_spearman'?"),
        (["--columns", "mcc_per_latent"], "there is no column 'mcc_per_latent'"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(words, message, runs, capsys):
    trials = simulated_trials()
    simulated_run(runs / "one", trials.assign(mcc_per_latent=[[score] for score in trials.mcc_spearman]))
    (runs.parents[1] / "file").touch()
    code, out, err = report(capsys, "one", *words)
    assert code == 2 and out == ""
    assert message in err and err.count("\n") == 1
    assert not (runs / "one" / "leaderboard.md").exists() and not (runs.parent / "reports").exists()
    assert not (runs.parents[1] / "written").exists()


@long
def test_a_style_of_matplotlib_is_in_the_figures(runs, capsys):
    simulated_run(runs / "one", simulated_trials())
    drawn = []
    for style in ([], ["--style", "ggplot"]):
        assert report(capsys, "one", *style)[0] == 0
        drawn.append((runs / "one" / "figures" / "score_lines.svg").read_text())
    assert drawn[0] != drawn[1]


@pytest.mark.usefixtures("without_figures")
def test_missing_trials_are_said_on_the_terminal_under_the_board_and_on_the_page(runs, capsys):
    trials = simulated_trials()
    lost = (trials.method == "ivae") & (trials.domains == 3)
    simulated_run(runs / "one", trials[~lost], planned=trials)
    code, out, _ = report(capsys, "one")
    assert code == 0 and out.count("6 of 90 planned trials have no result yet (ivae 6)") == 1
    assert "`python run_bench.py --grid domains=2..4" in out
    for name in ("leaderboard.md", "report.html"):
        assert "6 of 90 planned trials have no result yet (ivae 6)" in (runs / "one" / name).read_text()


@pytest.mark.usefixtures("without_figures")
def test_a_plug_in_that_the_manifest_names_is_not_executed(runs, capsys):
    store = simulated_run(runs / "one", simulated_trials())
    plugin = runs.parents[1] / "plugin.py"
    plugin.write_text(f"open({str(runs.parents[1] / 'executed')!r}, 'w')")
    manifest = store.manifest()
    manifest["commands"][0]["config"]["plugins"] = [str(plugin)]
    store.write_manifest(manifest)
    assert report(capsys, "one")[0] == 0 and cli.main(["compare", "one", "one"]) == 0
    assert not (runs.parents[1] / "executed").exists()


def test_a_report_elsewhere_leaves_the_run_as_it_was(runs, capsys):
    simulated_run(runs / "one", simulated_trials())
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    assert report(capsys, "one", "--out", "there")[0] == 0 and cli.main(["compare", "one", "one"]) == 0
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_a_report_into_a_folder_that_cannot_be_written_offers_another(runs, capsys, monkeypatch):
    """As root every folder can be written; so the system is made to refuse."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    simulated_run(runs / "one", simulated_trials())
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    code, out, err = report(capsys, "one")
    assert (code, out) == (2, "")
    assert "results/runs/one cannot be written (Read-only file system); name another folder with --out" in err


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(runs, capsys, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    simulated_run(runs / "one", simulated_trials())
    (runs / "one" / "leaderboard.md").write_text("before")
    monkeypatch.setattr("os.fsync", full)
    code, _, err = report(capsys, "one")
    assert code == 1 and "No space left on device" in err and err.count("\n") == 1
    assert (runs / "one" / "leaderboard.md").read_text() == "before"
    assert not list((runs / "one").glob(".leaderboard*"))


@pytest.fixture
def own_score():
    """A score that no table of ours names."""

    @scores.score(
        "mine", source="me", heading=("my", "score"), tables=("terminal", "paper", "trials"), lower_is_better=True
    )
    def mine(_):
        """How much it is mine."""

    yield "mine"
    scores.drop(mine.__module__)


@pytest.mark.usefixtures("without_figures")
def test_a_declared_score_is_in_every_table_that_it_names_and_in_the_csv(runs, capsys, own_score):
    trials = simulated_trials().assign(mine=0.25)
    trials.loc[trials.method == "ivae", "mine"] = 0.125
    simulated_run(runs / "one", trials)
    code, out, _ = report(capsys, "one")
    assert code == 0 and ".250" in out and "score" in out
    folder = runs / "one"
    assert "my score" in (folder / "leaderboard.md").read_text()
    assert r"\textbf{.125}" in (folder / "leaderboard.tex").read_text()
    found = board(folder).set_index("label")
    assert found.mine["ivae"] == 0.125 and found.mine_best.tolist() == [False, True, False, False, False]
    page = (folder / "report.html").read_text()
    assert (
        page.count(">my score<") == 3 + trials.groupby(["domains", "violation"]).ngroups
    )  # the choice of a score, the board, what its columns mean, each cell's trials


@pytest.mark.usefixtures("without_figures")
def test_a_score_that_is_no_table_is_in_the_csv_alone(runs, capsys):
    simulated_run(runs / "one", simulated_trials())
    assert report(capsys, "one")[0] == 0
    assert "objective" in board(runs / "one") and "mcc_per_latent" not in board(runs / "one")
    assert "objective" not in (runs / "one" / "leaderboard.md").read_text()


def test_a_report_says_of_how_many_data_sets_the_chart_is_certified():
    trials = simulated_trials(domains=(2, 3), violations=(0.0,), seeds=2).assign(root_seed=0)
    assert write.charts(results(trials)) == []
    trials["chart_met"] = [
        None if role == "floor" else domains == 2 for role, domains in zip(trials.role, trials.domains, strict=True)
    ]
    (text,) = write.charts(results(trials))
    assert "2 of 4 data sets" in text and "chart_met" in text
    (text,) = write.charts(results(trials[trials.domains == 2]))
    assert text.endswith("2 of 2 data sets met its certificate")
