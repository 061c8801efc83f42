"""The real command line on a small grid: what it leaves, that Ray and serial agree, that a killed run goes on."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from bench import cli
from bench.cli.run import usual_methods
from bench.plan import plugins
from bench.run.store import Store
from methods import methods
from tests.conftest import FULL, long

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--grid", "domains=2,3", "--profile", "quick", "--seeds", "1", "--grid", "steps=30"]
TIMING = ["train_s", "score_s", "chart_s", "finished_at"]

pytestmark = pytest.mark.xdist_group("ray")  # one process, for one Ray session


@pytest.fixture(
    scope="session"
)  # tests that share Ray's session come in an order of their own, between which a module's would end
def serial_run(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("serial")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FULL.items():  # as the workers of Ray have them
            patch.setattr(f"bench.train.{name}", value)
        patch.chdir(folder)
        assert cli.main([*SMALL, "--executor", "serial", "--name", "small"]) == 0
    return folder / "results" / "runs" / "small"


def trials(run):
    return pd.read_parquet(run / "trials.parquet")


def test_a_run_leaves_everything_that_it_promises(serial_run):
    rows = trials(serial_run)
    assert len(rows) == 10 * 6
    assert (rows.status == "ok").all()
    promised = [
        "trial_id",
        "method",
        "dataset",
        "domains",
        "violation",
        "n_latents",
        "n_observed",
        "seed",
        "status",
        "error",
        "mcc_pearson",
        "mcc_spearman",
        "mcc_within",
        "r2_component",
        "r2_block",
        "r2_linear",
        "recon_nmse",
        "objective",
        "mcc_per_latent",
        "train_s",
        "device",
        "pack_id",
    ]
    assert set(promised) <= set(rows)
    for name in usual_methods():
        assert set(methods[name].fields) <= set(rows)
    for name in ("trials.csv", "leaderboard.md", "leaderboard.csv", "leaderboard.tex"):
        assert (serial_run / name).stat().st_size > 0
    assert list((serial_run / "parts").glob("*.jsonl"))
    drawn = {path.suffix for path in (serial_run / "figures").iterdir()}
    assert {".pdf", ".png"} <= drawn


def test_the_manifest_says_what_was_run_with_what_and_what_each_score_is(serial_run):
    manifest = json.loads((serial_run / "manifest.json").read_text())
    command = manifest["commands"][-1]
    assert command["config"]["grid"]["sparse-mixing"] == {"domains": [2, 3]}
    assert command["config"]["added"] == [{"violation": 0.0}, {"violation": 0.5}, {"violation": 0.5, "twins": 0.5}]
    assert command["config"]["root_seed"] == 0 and command["data_version"] == 2
    assert {"torch", "numpy", "ray", "python"} <= set(command["versions"])
    assert {"cores", "processor"} <= set(command["machine"]) and "commit" in command["git"]
    assert {"mcc_spearman", "r2_block", "objective", "recon_nmse"} <= set(manifest["definitions"])


def test_methods_are_compared_on_the_same_data(serial_run):
    rows = trials(serial_run)
    store = Store(serial_run)
    for _, cell in rows.groupby(["domains", "violation", "twins", "seed"], dropna=False):
        assert len(cell) == 10
        first, *others = (store.latents(row)["z"] for _, row in cell.iterrows())
        assert all((first == other).all() for other in others)


@pytest.mark.usefixtures("without_figures")
def test_ray_gives_the_rows_of_the_serial_executor(serial_run, ray_session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*SMALL, "--executor", "ray", "--name", "small"]) == 0
    ray_rows, serial_rows = (
        trials(run).sort_values("trial_id").drop(columns=TIMING).reset_index(drop=True)
        for run in (tmp_path / "results/runs/small", serial_run)
    )
    pd.testing.assert_frame_equal(ray_rows[serial_rows.columns], serial_rows, check_exact=True)
    assert set(ray_rows) == set(serial_rows)


@pytest.mark.usefixtures("without_figures")
def test_workers_of_ray_load_a_plugin_and_give_the_rows_of_the_serial_executor(ray_session, tmp_path, monkeypatch):
    from tests.plan.test_plugins import METHOD, WORDS

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(METHOD)
    found = []
    for executor in ("ray", "serial"):
        assert cli.main(["--plugin", "mine.py", *WORDS[:-1], executor, "--executor", executor]) == 0
        run = trials(tmp_path / "results/runs" / executor)
        found.append(run.sort_values("trial_id").drop(columns=TIMING).reset_index(drop=True))
    plugins.unload([str(tmp_path / "mine.py")])
    assert (found[0].status == "ok").all() and "projection" in set(found[0].method)
    pd.testing.assert_frame_equal(*found, check_exact=True)


@pytest.mark.usefixtures("without_figures")
def test_a_finished_run_trains_nothing_again_and_a_widened_one_only_what_is_new(serial_run, monkeypatch, capsys):
    monkeypatch.chdir(serial_run.parents[2])
    before = {path.name: path.stat().st_mtime_ns for path in (serial_run / "parts").iterdir()}
    assert cli.main([*SMALL, "--executor", "serial", "--name", "small"]) == 0
    assert "60 of them finished before; 0 packs" in capsys.readouterr().out
    wider = ["--grid", "domains=2..4", *SMALL[2:], "--methods", "pca,ivae", "--executor", "serial", "--name", "small"]
    assert cli.main(wider) == 0
    after = {path.name: path.stat().st_mtime_ns for path in (serial_run / "parts").iterdir()}
    assert before.items() <= after.items() and len(after) == len(before) + 2
    assert len(trials(serial_run)) == 60 + 2 * 3
    assert len(json.loads((serial_run / "manifest.json").read_text())["commands"]) == 3


def test_report_draws_again_without_training(serial_run, monkeypatch, capsys):
    monkeypatch.chdir(serial_run.parents[2])
    (serial_run / "leaderboard.md").unlink()
    monkeypatch.setattr("bench.run.executors.run", None)
    assert cli.main(["report", "small"]) == 0
    assert (serial_run / "leaderboard.md").exists()
    assert "synergy-vae" in capsys.readouterr().out


@long
def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    """A real SIGKILL of a real run: what was finished stays as it is, and the whole equals a run that was never killed."""
    command = [sys.executable, str(ROOT / "run_bench.py"), "--grid", "domains=2,3", "--methods", "ivae,pca", "--seeds", "2",
               "--grid", "violation=0", "--grid", "steps=150", "--set", "ivae.restarts=4", "--executor", "serial", "--name", "run"]  # fmt: skip
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    parts = killed / "results/runs/run/parts"
    killed.mkdir(), whole.mkdir()
    process = subprocess.Popen(command, cwd=killed, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(parts.glob("*.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {row["trial_id"]: row for row in Store(killed / "results/runs/run").rows()}
    assert 1 <= len(before) < 8

    for folder in (killed, whole):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = {row["trial_id"]: row for row in Store(killed / "results/runs/run").rows()}
    assert {trial_id: after[trial_id] for trial_id in before} == before
    resumed, uninterrupted = (
        trials(folder / "results/runs/run").sort_values("trial_id").drop(columns=TIMING).reset_index(drop=True)
        for folder in (killed, whole)
    )
    assert len(resumed) == 2 * 2 * 2
    pd.testing.assert_frame_equal(resumed, uninterrupted, check_exact=True)


def is_ours(pid):
    """Whether a process descends from this one: other runs on this machine are none of the tests' business."""
    while pid > 1 and pid != os.getpid():
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == os.getpid()


def kill_the_first_worker_that_trains(pids):
    """Waits for a Ray process of this session that runs a pack, kills it, and notes its number in `pids`."""
    deadline = time.monotonic() + 60
    while not pids and time.monotonic() < deadline:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                title = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::") and b"_task" in title and is_ours(int(folder.name)):
                os.kill(int(folder.name), signal.SIGKILL)
                pids.append(int(folder.name))
                return
        time.sleep(0.01)


@pytest.mark.usefixtures("without_figures")
def test_the_pack_of_a_worker_that_is_killed_is_trained_by_another_one(ray_session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--grid", "domains=2,3", "--grid", "violation=0", "--methods", "ivae", "--seeds", "2", "--grid", "steps=300",
             "--start", "random", "--executor", "ray", "--name", "run"]  # fmt: skip
    killed = []
    killer = threading.Thread(target=kill_the_first_worker_that_trains, args=(killed,))
    killer.start()
    assert cli.main(words) == 0
    killer.join()
    assert killed
    rows = trials(tmp_path / "results/runs/run")
    assert (rows.status == "ok").all() and len(rows) == 4


def test_a_ray_address_where_nobody_answers_is_one_sentence(tmp_path, monkeypatch, capsys):
    import ray

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    started = time.monotonic()
    assert cli.main(["--methods", "pca", "--seeds", "1", "--ray-address", "127.0.0.1:1"]) == 2
    assert (
        "nothing that is Ray answers for the cluster at 127.0.0.1:1" in capsys.readouterr().err
        and time.monotonic() - started < 30
    )


@pytest.mark.usefixtures("without_figures")
def test_an_exit_code_is_about_the_trials_asked_for(tmp_path, monkeypatch):
    def broken(self, shape, seed):
        raise RuntimeError("no such luck")

    monkeypatch.chdir(tmp_path)
    words = ["--seeds", "1", "--executor", "serial", "--name", "run", "--methods"]
    assert cli.main([*words, "identity"]) == 0
    monkeypatch.setattr(methods["pca"].cls, "build", broken)
    assert cli.main([*words, "pca"]) == 1


@pytest.mark.usefixtures("without_figures")
class TestUsersFile:
    WORDS = ("--dataset", "file", "--seeds", "2", "--executor", "serial", "--name", "own")

    def rows(self, folder, arrays, *words):
        import numpy as np

        np.savez(folder / "data.npz", **arrays)
        assert cli.main([*self.WORDS, "--set", "file.path=data.npz", *words]) == 0
        return trials(folder / "results/runs/own")

    @pytest.fixture
    def arrays(self, data_file, tmp_path, monkeypatch):
        import numpy as np

        monkeypatch.chdir(tmp_path)
        with np.load(data_file) as file:
            return dict(file)

    def test_without_the_truth_its_scores_are_empty_and_what_needs_it_is_not_applicable(self, arrays, tmp_path):
        del arrays["z"], arrays["support"]
        rows = self.rows(
            tmp_path, arrays, "--set", "file.n_latents=2", "--methods", "ivae,pca,supervised", "--grid", "steps=30"
        )
        status = rows.groupby("method").status.unique().map(list).to_dict()
        assert status == {"ivae": ["ok"], "pca": ["ok"], "supervised": ["not-applicable"]}
        assert rows[["mcc_spearman", "r2_block"]].isna().all(axis=None)
        assert rows[rows.method == "ivae"][["objective", "recon_nmse"]].notna().all(axis=None)

    def test_a_table_with_words_as_domains_and_no_truth_goes_from_file_to_report_by_the_commands_of_the_docs(
        self, tmp_path, monkeypatch, capsys
    ):
        import numpy as np

        monkeypatch.chdir(tmp_path)
        page = (Path(__file__).resolve().parents[2] / "docs/data.md").read_text().split("## file (your own)")[1]
        commands = [shlex.split(line)[2:] for line in page.splitlines() if line.startswith("    python run_bench.py")]
        rng = np.random.default_rng(0)
        site = np.repeat(["Oslo", "Bern"], 150)
        x = rng.normal(size=(300, 3)) * np.where(site == "Oslo", 1, 3)[:, None] @ rng.normal(size=(3, 6))
        pd.DataFrame(x, columns=list("abcdef")).assign(site=site, name="a cell").to_csv("cells.csv")
        run, again = commands
        assert cli.main([*run, "--executor", "serial", "--grid", "steps=30"]) == 0
        said = capsys.readouterr().out
        assert "cells.csv: these columns are ignored: (no name), name" in said
        assert "the domains, from 0, are Bern, Oslo" in said and "re-splits of one data set" in said
        assert cli.main(again) == 0
        rows = trials(tmp_path / "results/runs/cells")
        assert (rows.status == "ok").all() and len(rows) == 9 and rows.n_observed.eq(6).all()
        assert "re-splits of one data set" in (tmp_path / "results/runs/cells/report.html").read_text()

    @pytest.mark.parametrize("words", [["file.domain=nothing"], ["file.x=site"], ["file.path=broken.csv"]])
    def test_a_table_that_cannot_be_used_is_one_sentence_and_code_2(self, tmp_path, monkeypatch, capsys, words):
        monkeypatch.chdir(tmp_path)
        pd.DataFrame({"a": range(100), "site": "Oslo"}).to_csv("data.csv", index=False)
        (tmp_path / "broken.csv").write_bytes(b"a,b\n1,2\n3\n")
        settings = ["file.path=data.csv", "file.n_latents=1", *words][-2 if "path" in words[0] else 0 :]
        assert cli.main([*self.WORDS, *(word for each in settings for word in ("--set", each))]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "csv" in err

    def test_in_one_domain_a_method_that_needs_several_is_not_applicable(self, arrays, tmp_path):
        arrays["domain"] = arrays["domain"] * 0
        rows = self.rows(tmp_path, arrays, "--methods", "ivae,sparse-vae,identity", "--grid", "steps=30")
        status = rows.groupby("method").status.unique().map(list).to_dict()
        assert status == {"ivae": ["not-applicable"], "sparse-vae": ["ok"], "identity": ["ok"]}

    def test_a_file_that_changed_is_trained_again_and_only_its_last_content_is_on_the_board(
        self, arrays, tmp_path, capsys
    ):
        first = self.rows(tmp_path, arrays, "--methods", "identity")
        second = self.rows(tmp_path, arrays | {"x": arrays["x"] ** 3}, "--methods", "identity")
        assert len(first) == 2 and len(second) == 4
        assert second.mcc_pearson.nunique() == 4  # the new content was read, not the old one kept
        board = pd.read_csv(tmp_path / "results/runs/own/leaderboard.csv")
        assert board.n_trials.tolist() == [2]
        assert board.mcc_pearson[0] == pytest.approx(second[~second.trial_id.isin(first.trial_id)].mcc_pearson.mean())
        assert "2 trials of an earlier version" in capsys.readouterr().out
