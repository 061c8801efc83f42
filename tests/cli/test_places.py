import os
from pathlib import Path

import pytest

import bench
from bench import cli
from bench.cli import places
from bench.registry import UsageError

TRAIN = ["--methods", "identity", "--seeds", "1", "--executor", "serial", "--grid", "violation=0", "--name"]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder that stands for the repository, with one in it and one beside it."""
    root = tmp_path / "repository"
    for folder in (root / "examples" / "deep", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    monkeypatch.setattr("bench.cli.places.ROOT", root)
    return root


@pytest.mark.usefixtures("without_figures")
def test_a_run_lands_in_the_repository_from_any_folder_of_it_and_is_found_from_any_folder(
    repository, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(repository / "examples" / "deep")
    assert cli.main([*TRAIN, "own"]) == 0
    assert (repository / "results/runs/own/leaderboard.md").exists() and not os.listdir()
    assert "report.html: ../../results/runs/own" in capsys.readouterr().out
    for folder in (repository, repository / "examples", tmp_path / "elsewhere"):
        monkeypatch.chdir(folder)
        assert cli.main(["report", "own"]) == 0
        assert not (folder / "results").exists() or folder == repository
        with pytest.raises(UsageError, match="the run 'own' has no trial 'pca'"):
            bench.load("own", "pca")
        assert cli.main(["report", "owl"]) == 2 and "did you mean 'own'?" in capsys.readouterr().err


def test_elsewhere_results_are_written_to_the_current_folder_and_found_there_first(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert places.results("runs") == Path("results/runs")
    assert places.all_results("runs") == [Path("results/runs"), repository / "results/runs"]
    monkeypatch.chdir(repository)
    assert places.results("runs") == Path("results/runs")
