"""`merge` on the command line: shards that were trained apart are a run."""

from pathlib import Path

import pytest

from bench import cli
from bench.run.store import Store
from bench.train import chart

pytestmark = pytest.mark.xdist_group("merge")  # one process, for what its tests share

RUNS = Path("results/runs")
WORDS = ["--methods", "identity,vae,ivae", "--grid", "domains=2", "--grid", "violation=0", "--seeds", "3"]
WORDS += ["--set", "vae.steps=2", "--set", "ivae.steps=2", "--executor", "serial", "--name", "run"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A folder with three shards of one run, trained apart, and the ids of the charts that were trained for them."""
    folder = tmp_path_factory.mktemp("shards")
    train = chart.train

    def noted(specs, *rest):
        with open(folder / "trained", "a") as file:  # charts train in another process
            file.writelines(f"{spec.chart_id}\n" for spec in specs)
        return train(specs, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(chart, "train", noted)
        assert [cli.main([*WORDS, "--shard", f"{number}/3"]) for number in (1, 2, 3)] == [0, 0, 0]
    return folder, (folder / "trained").read_text().split()


@pytest.mark.usefixtures("without_figures")
def test_shards_that_were_merged_are_the_run_and_its_command_trains_nothing(shards, monkeypatch, capsys):
    folder, trained = shards
    monkeypatch.chdir(folder)
    assert len(trained) == len(set(trained)) == 3
    assert cli.main(["merge", "run.1of3", "run.2of3", "run.3of3", "--out", "run"]) == 0
    assert "run run: 9 trials, 9 of them added, in results/runs/run\n" in capsys.readouterr().out
    monkeypatch.setattr("bench.run.executors.run", lambda *_: pytest.fail("something is trained"))
    assert cli.main(WORDS) == 0
    assert "run run: 9 trials, 9 of them finished before; 0 packs" in capsys.readouterr().out
    store = Store(RUNS / "run")
    assert {path.stem for path in (RUNS / "run" / "charts").glob("*.npz")} == set(trained)
    assert all(store.latents(row) for _, row in store.table().iterrows()) and not store.damages
    commands = store.manifest()["commands"]
    assert [command["config"]["shard"] for command in commands] == ["1/3", "2/3", "3/3", None]
    assert cli.main(["report", "run"]) == 0
    assert (RUNS / "run" / "leaderboard.md").exists()


@pytest.mark.usefixtures("without_figures")
def test_a_shard_that_comes_later_is_added_and_what_is_still_missing_is_trained(shards, monkeypatch, capsys):
    monkeypatch.chdir(shards[0])
    assert cli.main(["merge", "results/runs/run.1of3", "--out", "results/late"]) == 0
    n_first = len(Store("results/late").rows())
    assert cli.main(["merge", "run.2of3", "run.2of3", "results/late", "--out", "./results/late"]) == 0
    out = capsys.readouterr().out
    n_both = len(Store("results/late").rows())
    assert 0 < n_first < n_both < 9 and f"{n_both} trials, {n_both - n_first} of them added" in out
    assert "report results/late\n" in out
    (RUNS / "run2").symlink_to(Path("results/late").resolve())
    assert cli.main([*WORDS, "--name", "run2"]) == 0
    assert f"9 trials, {n_both} of them finished before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run.1of3"], "required: --out"),
        (["--out", "new"], "required: RUN"),
        (["no-run", "--out", "new"], "there is no run 'no-run'; "),
        (["run.1of3", "--out", "run.1of3"], "name another run to add to it"),
        (["run.1of3", "--out", ".."], "letters, digits"),
        (["run.1of3", "--out", ""], "letters, digits"),
        (["run.1of3", "--out", "/proc/no"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2_and_writes_nothing(shards, monkeypatch, capsys, words, message):
    monkeypatch.chdir(shards[0])
    before = sorted(Path().rglob("*"))
    assert cli.main(["merge", *words]) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""
    assert sorted(Path().rglob("*")) == before


def test_runs_on_other_data_are_refused_and_nothing_is_written(shards, monkeypatch, capsys):
    monkeypatch.chdir(shards[0])
    store = Store(RUNS / "other")
    manifest = Store(RUNS / "run.1of3").manifest()
    store.write_manifest(manifest | {"commands": [manifest["commands"][0] | {"data_version": 1}]})
    assert cli.main(["merge", "run.1of3", "other", "--out", "both"]) == 2
    assert "not on the same data" in capsys.readouterr().err and not (RUNS / "both").exists()
