"""`report --metrics all`: scores on demand of a run that was trained before, from the latents that it kept."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.cli import main
from bench.report import on_demand
from bench.run.store import Store
from bench.scores import ON_DEMAND
from bench.scores.files import split_at_random
from bench.scores.metrics import Evaluation

RUN = Path("results/runs/run")
DATA = ["--set", "sparse-mixing.n_samples=300", "--grid", "domains=3", "--grid", "violation=0"]
COMMAND = [*DATA, "--seeds", "2", "--executor", "serial", "--name", "run", "--methods", "pca,random"]

pytestmark = [pytest.mark.usefixtures("without_figures"), pytest.mark.xdist_group("on-demand")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of results of a run."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(COMMAND) == 0
    return folder / "results"


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return Store(RUN)


def contents(*names):
    return {name: (RUN / name).read_bytes() for name in names}


def test_every_trial_has_every_score_of_its_kept_points_and_nothing_else_changes(run, capsys):
    before = contents("leaderboard.csv", "leaderboard.md", "leaderboard.tex", "trials.csv", "manifest.json")
    board = [line for line in capsys.readouterr().out.splitlines() if "pca" in line]
    assert main(["report", "run", "--metrics", "all"]) == 0
    said = capsys.readouterr().out
    assert "written: results/runs/run/metrics.csv" in said and not board
    assert contents(*before) == before
    table = pd.read_csv(RUN / "metrics.csv").set_index("trial_id")
    assert sorted(table.label) == ["pca", "pca", "random", "random"] and set(ON_DEMAND) <= set(table)
    for row in run.rows():
        kept = run.latents(pd.Series(row))
        halves = split_at_random(kept["z"], kept["z_hat"], kept["domains"].astype(int))
        expected, _ = Evaluation.of(*halves).scores(ON_DEMAND)
        for name, value in expected.items():
            assert table.loc[row["trial_id"], name] == pytest.approx(value), name


def test_the_page_has_means_over_data_seeds_beside_what_scores_can_be_trusted_for(run):
    assert main(["report", "run", "--metrics", "all"]) == 0
    page = (RUN / "metrics.md").read_text()
    table = pd.read_csv(RUN / "metrics.csv")
    own = table[table.label == "pca"].mcc_spearman_null
    assert f"{own.mean():.3f}".lstrip("0") in page and "## T-MEX" in page and "Trust it where latents depend" in page
    assert "nan" not in page


def test_without_being_asked_for_there_is_no_such_file(run):
    assert main(["report", "run"]) == 0
    assert not (RUN / "metrics.csv").exists()


def test_what_is_not_kept_is_left_out_and_where_nothing_is_that_is_a_sentence(run, capsys):
    files = sorted((RUN / "representations").glob("*.npz"))
    assert len(files) == 2
    files[0].unlink()
    assert main(["report", "run", "--metrics", "all"]) == 0
    assert len(pd.read_csv(RUN / "metrics.csv")) == 2
    for file in files[1:]:
        file.unlink()
    capsys.readouterr()
    assert main(["report", "run", "--metrics", "all"]) == 2
    assert "no latents with a known truth are kept" in capsys.readouterr().err


def test_kept_latents_that_are_not_finite_are_left_out_and_said(run, capsys):
    path = sorted((RUN / "representations").glob("*.npz"))[0]
    arrays = dict(np.load(path))
    names = [name for name in arrays if name.endswith(".z_hat")]
    assert len(names) == 2
    arrays[names[0]] = np.full_like(arrays[names[0]], np.nan)
    np.savez(path, **arrays)
    assert main(["report", "run", "--metrics", "all"]) == 0
    said = capsys.readouterr().out
    assert f"the kept latents of {names[0].split('.')[0]} cannot be scored" in said
    assert len(pd.read_csv(RUN / "metrics.csv")) == 3


def test_the_scores_are_those_that_the_command_metrics_shows():
    records = on_demand.on_demand_records()
    assert set(ON_DEMAND) <= set(records) and list(records)[0] == "mcc_spearman"
    assert not any(record.per_latent for record in records.values()) and np.all([r.compute for r in records.values()])
