"""`--shard` on the command line."""

from pathlib import Path

import pytest

from bench import cli
from bench.run.store import Store

WORDS = ["--methods", "identity", "--executor", "serial", "--grid", "violation=0,0.5", "--seeds", "2"]
RUNS = Path("results/runs")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("text", ["0/8", "9/8", "3/0", "a/b", ""])
def test_a_shard_that_there_is_not_is_one_sentence_and_code_2(capsys, text):
    assert cli.main([*WORDS, "--shard", text]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"run_bench.py: error: --shard {text}: ") and err.count("\n") == 1
    assert out == "" and not Path("results").exists()


def test_shards_train_each_trial_once_in_folders_of_their_own_and_write_no_report_of_a_part(capsys):
    for shard in ("1/2", "2/2"):
        assert cli.main([*WORDS, "--name", "run", "--shard", shard]) == 0
        assert f"shard {shard} is in results/runs/run.{shard[0]}of2; join it" in capsys.readouterr().out
    assert sorted(path.name for path in RUNS.iterdir()) == ["run.1of2", "run.2of2"]
    parts = [{row["trial_id"] for row in Store(path).rows()} for path in RUNS.iterdir()]
    assert all(parts) and len(set.union(*parts)) == sum(map(len, parts)) == 4
    assert not list(RUNS.glob("*/leaderboard.md"))
    assert [Store(path).manifest()["commands"][0]["config"]["shard"] for path in sorted(RUNS.iterdir())] == [
        "1/2",
        "2/2",
    ]


def test_a_dry_run_counts_the_trials_of_the_shard(capsys):
    n_trials = 0
    for number in range(1, 5):
        assert cli.main(["--grid", "domains=2..10", "--shard", f"{number}/4", "--dry-run"]) == 0
        first = capsys.readouterr().out.split("\n")[0]
        assert f".{number}of4: " in first
        n_trials += int(first.split(": ")[1].split()[0])
    assert n_trials == 1350 and not Path("results").exists()


def test_a_shard_without_a_data_set_is_done_at_once(capsys):
    words = ["--methods", "identity", "--executor", "serial", "--grid", "violation=0", "--seeds", "1", "--name", "run"]
    codes = [cli.main([*words, "--shard", f"{number}/3"]) for number in (1, 2, 3)]
    assert codes == [0, 0, 0]
    assert capsys.readouterr().out.count("none of the data sets") == 2


def test_the_exit_code_is_that_of_what_the_shard_had_to_do(capsys):
    """A method without a meaning on one domain: the shard that has this cell alone ends with nothing that is ok."""
    words = [
        "--methods",
        "ivae",
        "--executor",
        "serial",
        "--grid",
        "domains=1,2",
        "--grid",
        "violation=0",
        "--seeds",
        "1",
    ]
    for number in range(1, 6):
        code = cli.main([*words, "--set", "ivae.steps=2", "--name", "run", "--shard", f"{number}/5"])
        statuses = {row["status"] for row in Store(RUNS / f"run.{number}of5").rows()}
        assert (statuses, code) in ((set(), 0), ({"ok"}, 0), ({"not-applicable"}, 1))
    assert {tuple(row["status"] for row in Store(path).rows()) for path in RUNS.iterdir()} == {
        (), ("ok",), ("not-applicable",)
    }  # fmt: skip
