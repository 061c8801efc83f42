"""`--keep`, `latents` and `export`: what a run keeps of its trials, what becomes of finished ones that lack it, and what is said."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
from bench.cli import main
from bench.run import work
from bench.run.store import Store
from bench.train.kept import KINDS

RUN = Path("results/runs/run")
DATA = ["--set", "sparse-mixing.n_samples=300", "--grid", "domains=3", "--grid", "violation=0"]
SMALL = [*DATA, "--seeds", "2", "--executor", "serial", "--name", "run"]
METHODS = ["--set", "vae.steps=30", "--set", "vae.restarts=1", "--methods", "vae,pca,random"]
TIMING = ["train_s", "score_s", "finished_at"]

pytestmark = [pytest.mark.usefixtures("without_figures"), pytest.mark.xdist_group("kept")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of results of a run that kept nothing."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*SMALL, *METHODS]) == 0
    return folder / "results"


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return Store(RUN)


def table():
    return Store(RUN).table().sort_values("trial_id", ignore_index=True)


def test_finished_trials_that_lack_it_are_trained_again_to_the_same_scores_and_then_no_more(run, capsys):
    before = table()
    assert main([*SMALL, *METHODS, "--keep", "models,latents", "--dry-run"]) == 0
    assert "0 finished before" in capsys.readouterr().out
    assert main([*SMALL, *METHODS, "--keep", "models,latents"]) == 0
    said = capsys.readouterr().out
    assert "finished without what --keep asks for: 6 trials, trained again" in said
    after = table()
    pd.testing.assert_frame_equal(after.drop(columns=TIMING), before.drop(columns=TIMING), check_like=True)
    assert not Store(RUN).lacking(KINDS) and Store(RUN).lacking([]) == set()
    assert main([*SMALL, *METHODS, "--keep", "latents"]) == 0
    assert "6 of them finished before; 0 packs" in capsys.readouterr().out
    assert table().finished_at.equals(after.finished_at)


def test_a_finished_trial_keeps_its_row_where_training_it_again_comes_to_nothing(run, capsys, monkeypatch):
    before = table()

    class Failing(work.Work):
        def _keep_rows(self, pack, rows, latents):
            super()._keep_rows(pack, [row | {"status": "failed", "error": "no luck"} for row in rows], {})

    monkeypatch.setattr("bench.run.executors.Work", Failing)
    assert main([*SMALL, *METHODS, "--keep", "models"]) == 1
    assert (
        "still without what --keep asks for: 6 finished trials; the same command tries again" in capsys.readouterr().out
    )
    pd.testing.assert_frame_equal(table(), before)


def test_a_wider_run_keeps_what_is_new_and_what_was_there(run, tmp_path):
    assert main([*SMALL, "--methods", "pca", "--keep", "models"]) == 0
    assert {row["method"] for row in run.rows() if row["trial_id"] not in run.lacking(["models"])} == {"pca"}
    assert len(run.rows()) == 6 and len(run.lacking(["models"])) == 4


def test_the_latents_of_a_trial_are_written_as_a_table_and_a_trial_is_found_by_name(run, tmp_path, capsys):
    assert main([*SMALL, "--methods", "pca", "--keep", "models,latents"]) == 0
    trials = sorted(row["trial_id"] for row in run.rows() if row["method"] == "pca")
    capsys.readouterr()
    assert main(["latents", "run", trials[0][:8], "--out", "z.csv"]) == 0
    assert main(["latents", "run", trials[0], "--out", "z.parquet"]) == 0
    text, binary = pd.read_csv("z.csv"), pd.read_parquet("z.parquet")
    assert list(text) == ["row", "split", "domain", *(f"z_hat_{place}" for place in range(4))]
    np.testing.assert_array_equal(text.filter(like="z_hat"), binary.filter(like="z_hat"))
    assert (text.split == binary.split).all() and set(text.split) == {"train", "validation", "test"}
    capsys.readouterr()
    for words, message in (
        (
            ["run", "pca", "--out", "z.csv"],
            f"'pca' is the name of 2 trials of the run; say which by its id: {trials[0]}",
        ),
        (["run", "vae", "--out", "z.csv"], "'vae' is the name of 2 trials"),
        (["run", "pcb", "--out", "z.csv"], "the run 'run' has no trial 'pcb' that is ok; did you mean 'pca'?"),
        (["run", "pca", "--out", "z.txt"], "--out z.txt: name a .csv or .parquet file in a folder that exists"),
    ):
        assert main(["latents", *words]) == 2
        assert message in capsys.readouterr().err.replace(f"{trials[1]} (seed 0), ", "")
    other = next(row["trial_id"] for row in run.rows() if row["method"] == "vae")
    assert main(["latents", "run", other, "--out", "z.csv"]) == 2
    assert f"no latents of all points were kept of the trial {other} (vae); the run's command with --keep latents" in (
        capsys.readouterr().err
    )
    assert main(["export", "run", other, "--out", "model"]) == 2
    assert "no model was kept of the trial" in capsys.readouterr().err and not Path("model").exists()


@pytest.mark.parametrize("words, message", [("model", "did you mean 'models'?"), (",", "--keep names nothing")])
def test_what_cannot_be_kept_is_one_sentence(run, words, message, capsys):
    assert main([*SMALL, *METHODS, "--keep", words]) == 2
    assert message in capsys.readouterr().err


def test_what_was_kept_goes_with_its_trials_into_a_joined_run(run):
    assert main([*SMALL, "--methods", "pca", "--keep", "models,latents"]) == 0
    assert main(["merge", "run", "--out", "new"]) == 0
    joined = Store(Path("results/runs/new"))
    assert len(joined.rows()) == 6 and joined.lacking(KINDS) == run.lacking(KINDS) != set()
    for row in run.rows():
        if row["method"] == "pca":
            points = np.random.default_rng(0).normal(size=(5, 8))
            models = [bench.load(name, row["trial_id"]) for name in ("run", "new")]
            one, two = (model.encode(points, [0, 1, 2, 0, 1]) for model in models)
            np.testing.assert_array_equal(one, two)
            pd.testing.assert_frame_equal(run.every_latent(row), joined.every_latent(row))
