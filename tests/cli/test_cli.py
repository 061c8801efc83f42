import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cli
from bench.cli.run import resolve
from datasets import datasets
from methods import methods

ROOT = Path(__file__).resolve().parents[2]


def run(capsys, *words):
    code = cli.main(words)
    return code, *capsys.readouterr()


def parsed(words):
    """The command line, with its plug-ins loaded: there are none."""
    arguments = cli.parse_arguments(words)
    arguments.plugins = []
    return arguments


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.cli.places.ROOT", tmp_path)  # whoever tests may have runs in the repository


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "domain=2..4"], "did you mean 'domains'?"),
        (["--grid", "domains=2..x"], "is not a range"),
        (["--grid", "domains=0"], "in [1, 500]"),
        (["--grid", "violation=0.3"], "the nearest are 0.25 and 0.5"),
        (["--grid", "domains"], "KEY=VALUES"),
        (["--methods", "ivae,synergy"], "did you mean 'synergy-vae'?"),
        (["--methods", "ivae,ivae"], "twice"),
        (["--methods", "all,ivae"], "there is no method 'all'"),
        (["--grid", "steps=2", "--methods", "pca"], "'steps', which is one of beta-vae, domain-flow, domain-gan and"),
        (["--grid", "penalise=mixing"], "which is one of sparse-flow, synergy-flow; did you mean 'penalty'?"),
        (["--grid", "size=9"], "which is one of coloured-digits\n"),
        (["--methods", ","], "at least one"),
        (["--dataset", "sparse"], "did you mean 'sparse-mixing'?"),
        (["--set", "ivae.betta=2"], "did you mean 'beta'?"),
        (["--set", "alpha=2"], "NAME.FIELD=VALUE"),
        (["--set", "ivae.beta=much"], "expected a number"),
        (["--set", "ivae.beta=1", "--grid", "ivae.beta=1,2"], "both in --grid and in --set"),
        (["--sed", "3"], "did you mean '--seeds'?"),
        (["--name", "../up"], "letters, digits"),
        (["--name", ""], "letters, digits"),
        (["--name", "a" * 300], "at most 200"),
        (["--set", "ivae.beta=1", "--set", "ivae.beta=2"], "twice"),
        (["--grid", "domains=2,2.0"], "twice"),
        (["--grid", "domains=501"], "in [1, 500]"),
        (["--executor", "serial", "--ray-address", "auto"], "no meaning"),
        (["--device", "cpu", "--gpus-per-pack", "1"], "train on the CPU"),
        (["--seeds", "0"], "0 is less than 1"),
        (["--seeds", "x"], "not a whole number"),
        (["compare", "a", "b", "--out", "a\0b"], "null character"),
        (["audit", "--seeds", str(10**18)], "instances, and may have at most 1000000"),
        (["tune", "--budget", "1", "--seeds", str(10**18)], "data sets, and may have at most 1000000"),
        (["--grid", "noise=0..1:0.0002", "--grid", "dependence=0..0.9:0.0002"], "cells, and may have at most 1000000"),
        (["--profile", "qick"], "choose from 'quick', 'default', 'paper'"),
        (["--executor", "ry"], "choose from 'auto', 'serial', 'ray'"),
        (["--grid"], "expected one argument"),
        (
            ["lst"],
            "choose from 'list', 'show', 'audit', 'export-data', 'score', 'metrics', 'tune', 'merge', 'report', 'compare', 'submit', 'site', 'latents', 'export', 'doctor'",
        ),
        (["show"], "required: NAME"),
        (["show", "ivea"], "did you mean 'ivae'?"),
        (["report", "nothing"], "there are no runs yet"),
        (["tune"], "tune needs --budget N"),
        (["tune", "--budget", "100"], "is too small: one configuration of"),
        (["tune", "--budget", "1000000", "--methods", "pca"], "pca has nothing to tune"),
        (["tune", "--budget", "1000000", "--methods", "supervised"], "supervised has nothing to tune"),
        (["tune", "--budget", "1000000", "--methods", "ivea"], "did you mean 'ivae'?"),
        (
            ["tune", "--budget", "1000000", "--grid", "alpha=1,2"],
            "no data set or method of this run has a field 'alpha'",
        ),
        (
            ["tune", "--budget", "1000000", "--grid", "domains=1,2", "--methods", "ivae"],
            "ivae needs at least 2 domains",
        ),
        (["tune", "--budget", "1000000", "--methods", "ivae", "--set", "ivae.steps=31"], "multiples of 32 steps"),
        (["tune", "--budget", "1000000", "--methods", "ivae", "--set", "ivae.restarts=8"], "compares single starts"),
        (
            ["tune", "--budget", "1000000", "--methods", "tcl", "--set", "tcl.learning_rate=0.01"],
            "tcl has nothing left to tune",
        ),
        (["report"], "required: RUN"),
        (["compare", "one"], "required: RUN_B"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_nearest_name_and_code_2_and_starts_nothing(capsys, words, message):
    code, out, err = run(capsys, *words)
    assert code == 2
    assert message in err and err.count("\n") == 1 and err.startswith("run_bench.py: error: ")
    assert out == "" and not Path("results").exists()


def test_the_list_has_every_method_and_data_set_with_its_source(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    for name in (*methods.names(), *datasets.names()):
        assert any(line.split()[:1] == [name] for line in out.splitlines())
    assert "Khemakhem et al. 2020" in out


def test_show_gives_fields_defaults_types_and_meanings(capsys):
    code, out, _ = run(capsys, "show", "sparse-mixing")
    assert code == 0
    assert "domains = 9  [int]\n      number of domains (at least 1, at most 500)" in out
    assert "twins = none  [float | None]" in out


@pytest.mark.parametrize("entry", [*methods, *datasets], ids=lambda entry: entry.name)
def test_show_lists_what_a_word_may_be(capsys, entry):
    _, out, _ = run(capsys, "show", entry.name)
    for name, field in entry.fields.items():
        choices = field.metadata["choices"]
        said = out.split(f"\n  {name} = ")[1].split("\n  ")[1]
        assert (f"(one of: {', '.join(choices)}" in said) if choices else ("one of: " not in said)


def test_all_names_every_method_floors_and_ceiling_included(capsys):
    code, out, _ = run(capsys, "--methods", "all", "--grid", "violation=0", "--seeds", "1", "--dry-run")
    assert code == 0 and f": {len(methods.names())} trials," in out
    request = resolve(parsed(["--methods", "all", "--seeds", "1"]))
    assert {trial.method for trial in request.trials} == set(methods.names())


def test_one_trial_is_not_called_trials(capsys):
    words = ["--methods", "pca", "--grid", "violation=0", "--dry-run", "--executor", "serial"]
    _, one, _ = run(capsys, *words, "--seeds", "1")
    _, two, _ = run(capsys, *words, "--seeds", "2")
    assert ": 1 trial, 0 finished before, 1 pack on" in one and "on 1 core\n" in one
    assert ": 2 trials, 0 finished before, 1 pack on" in two


def test_a_run_says_which_cells_it_adds_to_the_grid(capsys):
    added = "every cell is run with violation=0, then with violation=0.5, then with violation=0.5 and twins=0.5, "
    assert added in run(capsys, "--methods", "pca", "--dry-run")[1]
    named = run(capsys, "--methods", "pca", "--dry-run", "--grid", "violation=0")[1]
    assert "every cell" not in named and "5 trials" in named
    assert "every cell" not in run(capsys, "--methods", "pca", "--dry-run", "--dataset", "dictionary")[1]


def test_a_dry_run_says_how_many_trials_and_packs_and_how_long_and_starts_nothing(capsys):
    code, out, _ = run(capsys, "--grid", "domains=2..10", "--dry-run")
    assert code == 0
    assert "1350 trials" in out and "packs" in out and "estimated time" in out
    assert not Path("results").exists()


def test_the_main_job_has_the_methods_and_cells_that_the_design_names():
    request = resolve(parsed(["--grid", "domains=2..10"]))
    assert {trial.method for trial in request.trials} == {
        "vae", "sparse-vae", "ivae", "flow-vae", "synergy-vae", "random", "identity", "pca", "fastica", "supervised",
    }  # fmt: skip
    cells = {tuple(map(trial.dataset_fields.get, ("domains", "violation", "twins"))) for trial in request.trials}
    strata = ((0.0, None), (0.5, None), (0.5, 0.5))
    assert cells == {(domains, *stratum) for domains in range(2, 11) for stratum in strata}
    assert len(request.trials) == 10 * len(cells) * 5 and request.config["grid"] == {
        "sparse-mixing": {"domains": list(range(2, 11))}
    }
    assert request.config["added"] == [{"violation": 0.0}, {"violation": 0.5}, {"violation": 0.5, "twins": 0.5}]
    steps = {t.method_fields["steps"] for t in request.trials if "steps" in t.method_fields}
    assert len(steps) == 1  # the same budget for all


def test_the_same_command_names_the_same_run_and_another_names_another():
    def name(*words):
        return resolve(parsed(words)).name

    assert name("--grid", "domains=2,3") == name("--grid", "domains=2,3")
    assert len({name(), name("--grid", "domains=2,3"), name("--profile", "quick"), name("--set", "ivae.beta=2")}) == 4
    long = [",".join(str(n / 1000) for n in range(100, last)) for last in (200, 201)]
    assert len({name("--grid", f"noise={values}") for values in long}) == 2
    assert all(len(name("--grid", f"noise={values}")) < 130 for values in long)


@pytest.mark.parametrize("words", [["--help"], ["list"], ["show", "ivae"], ["--grid", "domains=2..10", "--dry-run"]])
def test_answers_that_train_nothing_import_nothing_heavy(words):
    code = f"import sys; sys.argv = ['run_bench.py', *{words}]\n" + (
        "from bench.cli import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'pandas', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True
    )


def test_another_package_called_datasets_in_the_way_is_named(tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import bench.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert "'datasets' is not this project's" in done.stderr and str(tmp_path) in done.stderr


def test_what_cannot_be_written_is_one_sentence(capsys, monkeypatch, tmp_path):
    """The disk is full when the first pack is written: what was said before stays said, and no traceback."""
    import errno
    import os

    def full(path, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("bench.run.store.Store.write_pack", lambda store, *_: full(store.folder))
    words = ["--methods", "identity", "--seeds", "1", "--executor", "serial", "--grid", "violation=0"]
    code, _, err = run(capsys, *words)
    assert code == 1 and err.count("\n") == 1 and "No space left" in err and "the same command goes on" in err


@pytest.mark.usefixtures("without_figures")
def test_a_run_without_a_time_limit_goes_on_under_one(capsys):
    words = ["--methods", "identity", "--seeds", "1", "--executor", "serial", "--grid", "violation=0", "--name", "run"]
    assert run(capsys, *words)[0] == 0
    code, out, _ = run(capsys, *words, "--time-limit", "30")
    assert code == 0 and "1 of them finished before; 0 packs" in out


@pytest.mark.usefixtures("without_figures")
def test_methods_of_different_families_share_a_run_and_its_table(capsys):
    words = ["--seeds", "1", "--executor", "serial", "--grid", "violation=0", "--grid", "steps=2", "--name", "run"]
    assert run(capsys, *words, "--methods", "synergy-vae,gan")[0] == 0
    assert run(capsys, "report", "run")[0] == 0


@pytest.mark.usefixtures("without_figures")
def test_fewer_observed_variables_than_latents_are_not_applicable_to_any_method(capsys, tmp_path):
    import numpy as np
    import pandas as pd

    x = np.random.default_rng(0).normal(size=(300, 3))
    np.savez(tmp_path / "few.npz", x=x, domain=np.arange(300) % 3)
    words = ["--dataset", "file", "--set", "file.path=few.npz", "--set", "file.n_latents=5", "--seeds", "1"]
    assert run(capsys, *words, "--executor", "serial", "--name", "few", "--methods", ",".join(methods.names()))[0] == 1
    rows = pd.read_parquet("results/runs/few/trials.parquet")
    assert set(rows.status) == {"not-applicable"} and len(rows) == len(methods.names())
    without_truth = rows.error.str.contains("needs the true latents")
    assert rows.error[~without_truth].str.contains("at least as many observed variables as latents").all()
    assert without_truth.sum() == 1


@pytest.mark.usefixtures("without_figures")
def test_a_run_ends_with_one_line_that_says_what_to_do_next(capsys, data_file):
    words = [
        "--grid",
        "domains=2,3",
        "--set",
        "sparse-mixing.violation=0",
        "--methods",
        "identity",
        "--seeds",
        "2",
        "--name",
        "a",
    ]
    code, out, _ = run(capsys, *words, "--executor", "serial")
    assert code == 0 and out.splitlines()[-1] == (
        "next: open report.html; a board for each value: python run_bench.py report a --by domains; "
        "narrower intervals: the same command with --seeds 4"
    )
    own = ["--dataset", "file", "--set", f"file.path={data_file}", "--methods", "identity", "--executor", "serial"]
    code, out, _ = run(capsys, *own, "--seeds", "1", "--name", "b")
    assert code == 0 and out.splitlines()[-1] == "next: open report.html"
