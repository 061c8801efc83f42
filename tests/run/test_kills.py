"""Thirty SIGKILLs of the process that drives a run, spread over it, and then the same command: no row is lost, none differs.

It takes some ten minutes, and runs only where the environment has LONG_TESTS=1; `tests/cli/test_main_job.py` has one kill.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from bench.run.store import Store
from tests.conftest import long

ROOT = Path(__file__).resolve().parents[2]
TIMING = ["train_s", "score_s", "chart_s", "finished_at"]
KILLS = 30
WORDS = ["--grid", "domains=2,3", "--grid", "violation=0", "--seeds", "4", "--grid", "steps=4000",
         "--methods", "synergy-vae,flow-vae,ivae,fastica,pca", "--name", "run"]  # fmt: skip


def command(folder, executor):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run_bench.py"), *WORDS, "--executor", executor],
        cwd=folder, stdout=open(folder / "log", "a"), stderr=subprocess.STDOUT,
    )  # fmt: skip


def rows(folder):
    store = Store(folder / "results/runs/run")
    table = store.table()
    assert not store.damages and not table.trial_id.duplicated().any()
    return table.sort_values("trial_id").drop(columns=TIMING).reset_index(drop=True)


@long
@pytest.mark.parametrize("executor", ["serial", "ray"])
def test_thirty_kills_lose_no_row_and_little_time(executor, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    begun = time.monotonic()
    assert command(whole, executor).wait() == 0
    usual = time.monotonic() - begun
    draw = random.Random(0)
    spent, n_kills = 0.0, 0
    while n_kills < KILLS:
        process, begun = command(killed, executor), time.monotonic()
        # Long enough for a state to be kept now and then, and some too short for anything.
        try:
            process.wait(timeout=draw.uniform(2, 40))
            break  # it was done before it could be killed so often
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_kills += 1
        spent += time.monotonic() - begun
    begun = time.monotonic()
    assert command(killed, executor).wait() == 0
    spent += time.monotonic() - begun
    print(
        f"{executor}: {n_kills} kills; {spent:.0f} s beside {usual:.0f} s: {(spent - usual) / max(n_kills, 1):.1f} s a kill"
    )
    pd.testing.assert_frame_equal(rows(killed), rows(whole), check_exact=True)
    assert (spent - usual) / max(n_kills, 1) < 120
