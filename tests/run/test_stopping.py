"""Runs that end before they are done, well or not, and go on."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from bench.plan.packs import make_packs
from bench.run import executors, stopping
from bench.run.placement import Placement
from bench.run.stopping import Stop
from bench.run.store import Store
from bench.train import reporter
from tests.conftest import long
from tests.packs import pack
from tests.train.test_reporter import TIMING

pytestmark = pytest.mark.xdist_group("ray")  # one process, for one Ray session


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(reporter, "SECONDS_BETWEEN_STATES", 0.2)
    monkeypatch.setattr(reporter, "STATE_SHARE", 1e9)


def trials():
    return [*pack("ivae", n_seeds=2, steps=6000, start="random").trials, *pack("pca").trials]


def run(store, stop=None, placement=None):
    own = trials()
    packs = make_packs(own, "cpu", (), store.finished())
    with store.lock():
        executors.run(packs, store, placement or Placement(executor="serial"), Console(quiet=True), own, stop)
    return {row["trial_id"]: {k: v for k, v in row.items() if k not in TIMING} for row in store.rows()}


@long
def test_a_run_that_is_asked_to_stop_keeps_what_the_running_pack_has_and_goes_on_to_the_same_rows(tmp_path, soon):
    stop = Stop()
    timer = threading.Timer(2.0, stop.ask, ["enough"])
    timer.start()
    store = Store(tmp_path / "stopped")
    begun = time.monotonic()
    assert run(store, stop) == {} and time.monotonic() - begun < 60
    (state,) = (tmp_path / "stopped" / "states").iterdir()
    whole = run(Store(tmp_path / "whole"))
    trained = []
    again = run(store, None)
    assert again == whole and len(whole) == 4 and not trained
    assert not state.exists()


def test_a_budget_ends_a_run_and_leaves_time_to_save(monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE_S", 0.2)
    with stopping.listening(0.5) as stop:
        assert not stop.is_wanted()
        time.sleep(0.4)
        assert stop.is_wanted() and stop.reason == "the time budget of 0 s is spent" and not stop.is_due()
        time.sleep(0.3)
        assert stop.is_due()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_asks_to_stop_and_is_handled_as_before_afterwards(number):
    former = signal.getsignal(number)
    with stopping.listening() as stop:
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert stop.is_wanted() and signal.Signals(number).name in stop.reason
    assert signal.getsignal(number) == former


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    import tempfile

    scratch = Path(tempfile.mkdtemp(dir="/tmp"))  # a short path: there are sockets in it
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    run(Store(tmp_path / "run"), None, Placement(executor="serial"))
    assert list(scratch.iterdir()) == []
    scratch.rmdir()
