"""Runs packs, one after the other on this machine or as tasks on Ray, and writes each to the store as it finishes.

Wherever a pack trains, a process beside it watches it, and gives on what it says (`bench.run.process`). A task on Ray gets all that it needs
and gives back rows and arrays: no folder is shared. This process alone writes.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.machine import cores
from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.registry import UsageError
from bench.run import process, ray_troubles
from bench.run.placement import Placement
from bench.run.process import Died
from bench.run.progress import Monitor
from bench.run.stopping import Stop
from bench.run.store import Store
from bench.run.work import Part, Work, name_of
from bench.train.errors import LostProcess
from bench.train.reporter import State

ROOT = Path(__file__).resolve().parents[2]
NOT_SENT = ["results", ".git", ".venv", "build", "tests", "docs", "benchmarks", "examples"]  # to the nodes of a cluster
PENDING_PER_CORE, LEAST_PENDING = (
    2,
    8,
)  # tasks that wait or run: every core is busy, and an autoscaler sees that more would be
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_COUNTS = 5.0  # of the cores, which nodes that join or leave change
SILENCE_S = (
    60.0  # a task that has said nothing for so long, and should say something every second, is lost with its node
)
UNIT = "charts and packs"


def choose(placement: Placement, packs: Sequence[Pack]) -> str:
    """The executor for `packs`, "serial" or "ray"."""
    if placement.executor != "auto":
        return placement.executor
    several = len(packs) > 1 and cores() > 1
    return "ray" if placement.address or several else "serial"


def run(
    packs: Sequence[Pack],
    store: Store,
    placement: Placement,
    console: Console,
    trials: Sequence[Trial] | None = None,
    stop: Stop | None = None,
    pace: float = 1.0,
) -> None:
    """Runs `packs`, after the charts that they start from. Every one that finishes is in `store`, whatever stops the others.

    `trials` are all that the run is of, finished ones too (by default, those of the packs). After `stop` nothing is started, and what runs
    is left once it has said what it could go on from. `pace` is the seconds that an expected second takes on this machine.
    """
    own = [trial for pack in packs for trial in pack.trials] if trials is None else trials
    work = Work(packs, own, store, placement)
    is_serial = choose(placement, packs) == "serial"
    monitor = Monitor(console, 1 if is_serial else cores(), UNIT, pace)
    for part in work.parts:
        monitor.add(part.pack_id, name_of(part), part.expected_s)
    with monitor:
        (_run_serial if is_serial else _run_ray)(work, monitor, stop or Stop())


def _run_serial(work: Work, monitor: Monitor, stop: Stop) -> None:
    try:
        while not stop.is_wanted() and (part := work.next()):
            monitor.start(part.pack_id)
            for event in process.run(work.task(part), work.state(part)):
                is_over = work.take(part, event, monitor)
                monitor.update()
                if is_over or (stop.is_wanted() and (isinstance(event, State) or stop.is_due())):
                    break
    finally:
        process.end_idle()


# --- on Ray


@dataclass
class _Running:
    """A task that was handed to Ray."""

    part: Part
    heard: float = field(default_factory=time.monotonic)  # when it was handed over, then when it last said something
    has_begun: bool = False
    is_saved: bool = False  # since the run is to end


def _run_ray(work: Work, monitor: Monitor, stop: Stop) -> None:
    placement = work.placement
    monitor.say("starting Ray")
    note = ray_troubles.address_note(placement.address)
    if note:
        monitor.console.print(note, soft_wrap=True, markup=False)
    with ray_session(placement) as n_cores:
        import ray

        monitor.say("")
        given: Any = ray.put(_given(work)) if placement.address else None
        # By the share of a GPU. Without retries of Ray's own: it knows neither what was saved, nor whose fault an end is.
        shares = {placement.gpus, 0.0}
        remote: dict[float, Any] = {
            gpus: ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0, max_calls=0)(_task) for gpus in shares
        }
        tasks: dict[Any, _Running] = {}
        counted = all_busy = time.monotonic()
        while True:
            window = max(PENDING_PER_CORE * n_cores, LEAST_PENDING)
            while not stop.is_wanted() and len(tasks) < window and (part := work.next()):
                gpus = placement.gpus_of(part) if isinstance(part, Pack) else placement.gpus
                handle = remote[gpus].remote(work.task(part), work.state(part), given)
                tasks[handle] = _Running(part)
            if stop.is_wanted() and (stop.is_due() or all(t.is_saved or not t.has_begun for t in tasks.values())):
                break
            if not tasks:
                break
            ready, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=0)
            if not ready:
                ready, _ = ray.wait(list(tasks), timeout=SECONDS_BETWEEN_LOOKS)
            for handle in ready:
                _hear(handle, tasks, work, monitor, stop)
            if sum(task.has_begun for task in tasks.values()) >= min(n_cores, len(tasks)):
                all_busy = time.monotonic()
            for handle in _silent(tasks, all_busy):
                task = tasks.pop(handle)
                with suppress(Exception):  # whoever is silent may not hear this either
                    ray.cancel(handle, force=True)
                if task.has_begun:
                    lost = LostProcess(f"its machine has said nothing for {SILENCE_S:g} s")
                    work.take(task.part, Died(lost, is_passing=True), monitor)
                else:
                    work.put_back(task.part, monitor)
            if time.monotonic() > counted + SECONDS_BETWEEN_COUNTS:
                counted = time.monotonic()
                n_cores = _cores() or n_cores
            monitor.workers = max(1, min(n_cores, len(tasks) or 1))
            monitor.update()


def _task(task: process.Task, state: Any, given: Any) -> Iterator[Any]:
    """A task of Ray."""
    if given is not None:
        from bench.run import given as files

        files.take(given)
    yield from process.run(task, state)


def _given(work: Work) -> dict[str, bytes]:
    from bench.run import given

    return given.contents(work.parts)


def _hear(handle: Any, tasks: dict[Any, _Running], work: Work, monitor: Monitor, stop: Stop) -> None:
    """Takes what a task says next; where its process or node died, that."""
    import ray

    task = tasks[handle]
    try:
        event = ray.get(next(handle))
    except StopIteration:
        event = Died(LostProcess("its task ended before it was done"), is_passing=True)
    except ray.exceptions.RayTaskError as error:
        event = Died(LostProcess(str(error).strip().splitlines()[-1]), is_passing=True)
    except ray.exceptions.RayError:
        event = Died(LostProcess("its worker or its node died"), is_passing=True)
    task.heard, task.has_begun = time.monotonic(), True
    task.is_saved = task.is_saved or (stop.is_wanted() and isinstance(event, State))
    monitor.start(task.part.pack_id)
    if work.take(task.part, event, monitor):
        del tasks[handle]


def _silent(tasks: dict[Any, _Running], all_busy: float) -> list[Any]:
    """The tasks to give up: those that have gone silent, and those that wait although not all cores have been busy since `all_busy`."""
    limit = time.monotonic() - SILENCE_S
    silent = [handle for handle, task in tasks.items() if task.has_begun and task.heard < limit]
    if all_busy < limit:
        silent += [handle for handle, task in tasks.items() if not task.has_begun and task.heard < limit]
    return silent


def _cores() -> int:
    import ray

    try:
        return int(ray.cluster_resources().get("CPU", 0))
    except Exception:  # the cluster does not answer just now
        return 0


@contextmanager
def ray_session(placement: Placement) -> Iterator[int]:
    """Ray on this machine, on the cluster at the placement's address, or as it runs already; gives the number of its cores.

    Raises UsageError where Ray cannot work, with what to do.
    """
    ray_troubles.prepare(placement.address)
    # Read by Ray when it is imported or started, and by the processes that it starts.
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must stop a search, not end it as if it were complete
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    logging.getLogger("ray.widgets.util").setLevel(logging.CRITICAL)  # which asks for widgets in a notebook
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # the progress display and the rows say what there is to say
    mine = not ray.is_initialized()
    scratch_in = os.environ.get("RAY_TMPDIR") or None
    with tempfile.TemporaryDirectory(
        prefix=ray_troubles.SCRATCH, dir=scratch_in, ignore_cleanup_errors=True
    ) as scratch:
        if mine:
            try:
                _start(placement.address, scratch)
            except Exception as error:  # whatever Ray may raise
                said = ray_troubles.explain(error, placement.address) or f"{type(error).__name__}: {error}"
                raise UsageError(said if placement.address is None else f"--ray-address: {said}") from None
        try:
            gpus = ray.cluster_resources().get("GPU", 0)
            if placement.gpus > gpus:
                raise UsageError(f"a pack asks for {placement.gpus:g} GPUs, and Ray has {gpus:g}; see --gpus-per-pack")
            yield _cores() or 1
        finally:
            if mine:
                ray.shutdown()


def _start(address: str | None, scratch: str) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        memory = 128 * 2**20
        ray.init(num_cpus=cores(), include_dashboard=False, object_store_memory=memory, _temp_dir=scratch, **quiet)
        return
    _knock(address)
    environment = {"working_dir": str(ROOT), "excludes": NOT_SENT, "env_vars": {"OMP_NUM_THREADS": "1"}}
    ray.init(address=address, runtime_env=environment, **quiet)


def _knock(address: str) -> None:
    """Raises OSError or ValueError if nothing listens at HOST:PORT: Ray itself takes minutes to say so."""
    if address != "auto":
        host, _, port = address.rpartition("//")[2].rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
