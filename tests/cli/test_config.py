"""`--config FILE.toml` holds what a command line can, and every run leaves the one that repeats it."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import cli
from bench.cli.config import words_of
from bench.cli.run import repeating, resolve
from bench.registry import UsageError
from bench.run.store import Store

QUICK = ["--executor", "serial", "--set", "sparse-mixing.n_samples=300"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def request_of(words):
    arguments = cli.parse_arguments(words)
    arguments.plugins = []
    return arguments, resolve(arguments)


def planned(words):
    _, request = request_of(words)
    return request.name, [trial.trial_id for trial in request.trials], request.placement


@pytest.mark.usefixtures("without_figures")
def test_the_file_that_a_run_leaves_repeats_its_trials_from_another_folder(tmp_path, monkeypatch, capsys):
    words = [
        "--grid",
        "domains=2..4",
        "--grid",
        "violation=0",
        "--methods",
        "identity,pca",
        "--seeds",
        "2",
        "--keep",
        "models",
    ]
    assert cli.main([*words, *QUICK]) == 0
    (run,) = (tmp_path / "results" / "runs").iterdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert cli.main(["--config", str(run / "config.toml")]) == 0
    again = elsewhere / "results" / "runs" / run.name
    first, second = (sorted(row["trial_id"] for row in Store(folder).rows()) for folder in (run, again))
    assert first == second and len(first) == 12
    assert (again / "config.toml").read_text() == (run / "config.toml").read_text()
    assert (again / "models").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--grid", "domains=2..10"],
        ["--profile", "quick", "--methods", "ivae,synergy-vae", "--start", "chart,truth", "--root-seed", "7"],
        ["--grid", "violation=0..1:0.25", "--grid", "synergy-vae.alpha=0.1,1e-3", "--set", "synergy-vae.steps=64"],
        ["--shard", "2/3", "--name", "part", "--seeds", "4", "--time-limit", "7.5", "--time-budget", "3h"],
        ["--grid", "twins=none,0.5", "--grid", "violation=0.5", "--keep", "latents,models", "--device", "cpu"],
        ["--set", "ivae.prior_mean=false", "--methods", "ivae", "--set", "sparse-mixing.mixing=linear"],
    ],
)
def test_the_file_of_any_command_asks_for_the_same_trials(words, tmp_path):
    words = ["--device", "cpu", *words]
    (tmp_path / "config.toml").write_text(repeating(*request_of(words)))
    assert planned(["--config", "config.toml"]) == planned(words)
    once = (tmp_path / "config.toml").read_text()
    assert repeating(*request_of(["--config", "config.toml"])) == once
    tomllib.loads(once)


def test_a_path_is_written_so_that_it_is_found_from_anywhere(data_file, tmp_path, monkeypatch):
    Path("own.npz").write_bytes(data_file.read_bytes())
    words = [
        "--dataset",
        "file",
        "--set",
        "file.path=own.npz",
        "--methods",
        "identity",
        "--seeds",
        "1",
        "--name",
        "own",
    ]
    text = repeating(*request_of(words))
    assert tomllib.loads(text)["set"]["file.path"] == str(tmp_path / "own.npz")


def test_what_is_typed_counts_before_what_the_file_says():
    Path("c.toml").write_text(
        'methods = ["pca", "identity"]\nseeds = 3\nstart = "truth"\n[grid]\ndomains = [2, 3]\nviolation = "0,0.5"\n'
    )
    found = cli.parse_arguments(["--config", "c.toml", "--seeds", "1", "--grid", "domains=5", "--start", "chart"])
    assert (found.seeds, found.methods) == (1, "pca,identity")
    assert sorted(found.grid) == ["domains=5", "start=chart", "violation=0,0.5"]


def test_tables_in_tables_name_the_fields_of_a_method_and_keys_may_have_either_dash():
    Path("c.toml").write_text("root_seed = 4\n[set]\nivae.beta = 2\n[set.synergy-vae]\nalpha = 0.5\n")
    found = cli.parse_arguments(["--config", "c.toml"])
    assert found.root_seed == 4 and found.settings == ["ivae.beta=2", "synergy-vae.alpha=0.5"]


def test_values_become_the_words_that_one_would_type():
    words = words_of({
        "grid": {"domains": range(2, 11), "violation": np.array([0, 0.25]), "twins": [None, 0.5], "seed": [3, 4], "a": True},
        "methods": ("pca", "ivae"), "seeds": np.int64(3), "name": None, "time_limit": -1.5, "plugin": ["a.py", Path("b.py")],
    })  # fmt: skip
    assert words == [
        "--grid", "domains=2..10", "--grid", "violation=0.0,0.25", "--grid", "twins=none,0.5", "--grid", "seed=3,4", "--grid", "a=true",
        "--methods", "pca,ivae", "--seeds", "3", "--time-limit=-1.5", "--plugin", "a.py", "--plugin", "b.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = ", "is no TOML file"),
        ("seedz = 3", "there is no option '--seedz'; did you mean '--seeds'?"),
        ("seeds = 0", "0 is less than 1"),
        ("grid = 3", "grid is a table of names and values"),
        ("seeds = 1979-05-27", "is no text, number, truth"),
        ("seeds = [[1]]", "is no text, number, truth"),
        ('config = "other.toml"', "names no other one"),
        ("[grid]\ndomain = [2]", "did you mean 'domains'?"),
        ('[grid]\n"sparse-mixing.mixing" = ["a,b"]', "holds a comma"),
        ('name = "a\\u0000b"', "null character"),
        ('name = "../up"', "letters, digits"),
        ("a." * 5000 + "b = 1", ""),
        ("a = " + "[" * 5000, ""),
    ],
)
def test_a_file_that_is_wrong_is_one_sentence(text, message, capsys):
    Path("c.toml").write_text(text)
    assert cli.main(["--config", "c.toml"]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and said.startswith("run_bench.py: error: ")
    assert not Path("results").exists()


@pytest.mark.parametrize(
    "make", [lambda: None, lambda: Path("c.toml").mkdir(), lambda: Path("c.toml").write_bytes(b"\xff")]
)
def test_a_file_that_cannot_be_read_is_one_sentence(make, capsys):
    make()
    assert cli.main(["--config", "c.toml"]) == 2
    said = capsys.readouterr().err
    assert "--config c.toml" in said and said.count("\n") == 1


def test_no_plug_in_that_a_file_names_is_executed_unless_the_command_names_it_too(capsys):
    Path("mine.py").write_text("raise SystemExit('executed')")
    Path("c.toml").write_text('plugin = ["mine.py"]')
    assert cli.main(["--config", "c.toml"]) == 2
    said = capsys.readouterr().err
    assert "add --plugin mine.py" in said and "executed" not in said
    assert cli.main(["--config", "c.toml", "--plugin", "mine.py"]) == 2
    assert "executed" in capsys.readouterr().err
    with pytest.raises(UsageError, match="if you trust it"):
        words_of({"plugin": 3}, cli.parse_arguments([]))


def test_a_search_and_an_audit_take_a_file_too_of_which_what_is_typed_counts_first(capsys):
    Path("c.toml").write_text('seeds = 2\nroot_seed = 3\n[grid]\ndomains = "2,3"\n[set]\nsparse-mixing.n_latents = 3\n')
    found = cli.parse_arguments(["audit", "--config", "c.toml", "--seeds", "1", "--grid", "domains=2"])
    assert (found.seeds, found.root_seed, found.grid) == (1, 3, ["domains=2"])
    assert found.settings == ["sparse-mixing.n_latents=3"]
    assert cli.main(["audit", "--config", "c.toml", "--grid", "violation=0", "--grid", "domains=2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["2", "0"]  # seeds, violation
    Path("c.toml").write_text("budget = 100\n")
    assert cli.main(["tune", "--config", "c.toml"]) == 2 and "100" in capsys.readouterr().err
    Path("c.toml").write_text('methods = "pca"\n')
    assert cli.main(["audit", "--config", "c.toml"]) == 2
    assert "--config c.toml: audit has no option '--methods'" in capsys.readouterr().err
    assert cli.main(["--config", "c.toml", "audit"]) == 2
    assert "--config stands before audit, whose options come behind it" in capsys.readouterr().err


def test_a_field_of_the_data_set_is_the_same_with_and_without_its_name():
    Path("c.toml").write_text('[grid]\ndomains = "2,3"\n"sparse-mixing.violation" = "0,0.5"\n[set]\nn_latents = 3\n')
    typed = ["--grid", "sparse-mixing.domains=4", "--grid", "violation=1", "--set", "sparse-mixing.n_latents=5"]
    found = cli.parse_arguments(["--config", "c.toml", *typed])
    assert found.grid == ["sparse-mixing.domains=4", "violation=1"] and found.settings == ["sparse-mixing.n_latents=5"]


def test_the_file_that_a_search_leaves_repeats_it(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("bench.tune.execution.run", lambda ledgers, *_: asked.append(ledgers))
    monkeypatch.setattr("bench.tune.summary.write", lambda *_: pd.DataFrame({"status": ["ok"]}))
    words = ["tune", "--budget", "192", "--methods", "ivae", "--profile", "quick", "--set", "ivae.steps=32"]
    words += ["--seeds", "1", "--rungs", "1", "--grid", "domains=2", "--grid", "violation=0", *QUICK[2:]]
    assert cli.main(words) == 0
    (search,) = (tmp_path / "results" / "tuning").iterdir()
    text = (search / "config.toml").read_text()
    assert text.splitlines()[0] == "# What was asked for here, once more: python run_bench.py tune --config config.toml"
    assert cli.main(["tune", "--config", str(search / "config.toml")]) == 0
    assert (search / "config.toml").read_text() == text
    first, second = ([each.search for each in ledgers] for ledgers in asked)
    assert first == second and len(first) == 1
    assert len(list((tmp_path / "results" / "tuning").iterdir())) == 1
