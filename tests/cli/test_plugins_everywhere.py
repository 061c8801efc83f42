"""What a plug-in brings is in every table, by its own file alone: a method, a score, and a ladder with its verdict."""

import html
import json

import pandas as pd
import pytest

from bench import cli
from bench.plan import plugins

pytestmark = pytest.mark.xdist_group("plugins")  # one process, for what its tests share

PLUGIN = '''
from dataclasses import dataclass

import numpy as np

from bench.scores import score
from methods import CHANGES, SPARSITY, EstimatorMethod, field, register


class Mixed:
    """The first observed variables, and so much noise."""

    def __init__(self, n, noise, seed):
        self.n, self.noise, self.seed = n, noise, seed

    def fit(self, x, domains):
        return self

    def transform(self, x, domains):
        noise = np.random.default_rng(self.seed).normal(size=(len(x), self.n))
        return x[:, : self.n] + self.noise * noise


def corner(name, what, noise):
    @register(name, source="this test")
    @dataclass(frozen=True)
    class Corner(EstimatorMethod):
        """A corner of a ladder of its own."""

        assumes = frozenset(what)
        ladder = "plug-in"

        def build(self, shape, seed):
            return Mixed(shape.n_latents, noise, seed)

    Corner.__qualname__ = name


corner("my-neither", (), 2.0)
corner("my-changes", (CHANGES,), 1.0)
corner("my-sparsity", (SPARSITY,), 1.0)
corner("my-both", (CHANGES, SPARSITY), 0.1)


@score("worst_latent", heading=("", "worst"), tables=("terminal", "paper", "trials"), bounded=True, source="this test")
def worst_latent(e):
    """The smallest of mcc_per_latent."""
    return float(np.min(e.spearman))
'''
NAMES = ("my-neither", "my-changes", "my-sparsity", "my-both")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of a run of the plug-in's methods and one of ours, made by the command line; then the plug-in is forgotten."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "mine.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = [
            "--plugin",
            "mine.py",
            "--methods",
            ",".join([*NAMES, "identity"]),
            "--executor",
            "serial",
            "--seeds",
            "3",
        ]
        words += ["--grid", "domains=2,3", "--grid", "violation=0,0.5", "--set", "sparse-mixing.n_samples=500"]
        assert cli.main([*words, "--name", "own"]) == 0
    plugins.unload([str(folder / "mine.py")])
    return folder / "results/runs/own"


@pytest.mark.parametrize(
    "file", ["leaderboard.md", "leaderboard.csv", "leaderboard.tex", "report.html", "trials.csv", "manifest.json"]
)
def test_a_method_and_a_score_are_in_every_table(run, file):
    text = (run / file).read_text()
    assert all(name in text for name in NAMES)
    assert ("worst" if file != "manifest.json" else "The smallest of mcc_per_latent") in text


def test_a_method_is_in_the_comparisons_the_recovery_and_the_figures(run):
    for file in ("comparisons.csv", "recovery.csv", "figures/score_lines.csv", "figures/phase_diagram.csv"):
        text = (run / file).read_text()
        assert all(name in text for name in NAMES), file


def test_the_score_is_what_its_file_says(run):
    rows = pd.read_parquet(run / "trials.parquet")
    assert (rows.worst_latent == rows.mcc_per_latent.map(min)).all()
    board = pd.read_csv(run / "leaderboard.csv").set_index("label")
    assert board.worst_latent["my-both"] == pytest.approx(rows[rows.method == "my-both"].worst_latent.mean())


def test_a_complete_ladder_has_its_verdict(run):
    *strata, verdict = [line for line in (run / "synergy.md").read_text().splitlines() if line.startswith("- ")]
    assert all(stratum.startswith("- plug-in ladder, ") for stratum in strata)
    assert (
        verdict.startswith("- plug-in ladder: using both assumptions beats the better single one")
        and "my-both against the better of" in verdict
    )
    assert html.escape(verdict[2:], quote=False) in " ".join((run / "report.html").read_text().split())


def test_a_report_needs_no_plugin_and_executes_nothing_that_the_folder_names(run, monkeypatch, capsys):
    """The plug-in is gone, and in its place lies a file that would leave a trace."""
    monkeypatch.chdir(run.parents[2])
    trap = run.parents[2] / "mine.py"
    trap.write_text("open('executed', 'w').close()")
    assert str(trap) in json.loads((run / "manifest.json").read_text())["commands"][0]["config"]["plugins"]
    before = (run / "synergy.md").read_text(), (run / "leaderboard.csv").read_text()
    assert cli.main(["report", "own"]) == cli.main(["compare", "own", "own"]) == 0
    assert not (run.parents[2] / "executed").exists()
    assert ((run / "synergy.md").read_text(), (run / "leaderboard.csv").read_text()) == before
