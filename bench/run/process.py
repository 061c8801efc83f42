"""Runs a pack in a process of its own, beside one that watches it: whatever a method does, only its own trial suffers.

A method may leave the working directory, change a library for all who use it, take all memory, loop in C for ever, or end its process. The
process that trains does nothing else: it writes no file, knows no store, and tells the one that watches what it has. That one knows whose
code was running when it ended, ends what takes too long or too much memory, and begins another one for the trials that are left.

A process that has run this project's methods alone trains the next pack too; one that has run code of a user's ends.
"""

from __future__ import annotations

import atexit
import dataclasses
import faulthandler
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from bench.machine import free_memory
from bench.plan import plugins
from bench.plan.charts import ChartPack
from bench.plan.packs import Pack
from bench.train.errors import EndedItsProcess, LostProcess, OutOfTime
from bench.train.reporter import At, Clock, Lost, Progress, Reporter, Rows, State

SECONDS_BETWEEN_LOOKS = 0.25  # at memory and clock
SECONDS_BETWEEN_BEATS = 1.0  # so that who is far away knows that this process is there
MEMORY_SHARE = 0.5  # of what is free when a pack starts: more, and it is ended before the system ends something else
KEPT = (
    2**30
)  # bytes: a process that has gained more since it was forked makes way for a new one, whatever has kept them
SECONDS_TO_EXIT = 2.0
COMPILED = "torchinductor_*"  # torch's folders in the temporary one
CLOSED = 97  # exit code of a process that cannot say what it has


@dataclass(frozen=True)
class Task:
    """A pack or charts to train, with all that is needed for it. `charts` has, by id, the arrays of those that the pack starts from.

    `keep` names the kinds of `bench.train.kept` that are wanted of each trial.
    """

    part: Pack | ChartPack
    device: str = "cpu"
    time_limit: float | None = None
    charts: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    keep: frozenset[str] = frozenset()


class Done(NamedTuple):
    """`result` is a `Finished` for a pack; for charts their arrays in order, None for one that cannot be trained."""

    result: Any


class Died(NamedTuple):
    """The process ended and no trial is to blame alone. `error` says how.

    `is_passing`: something else ended it, and another try may do. `is_too_large`: it took too much memory for all its models together.
    """

    error: Exception
    is_passing: bool = False
    is_too_large: bool = False


def run(task: Task, state: Mapping[str, np.ndarray] | None = None) -> Iterator[Progress | State | Rows | Done | Died]:
    """Trains a task in a process of its own; gives what it says, something every second, and `Done` or `Died` at last.

    `state` is what a former process said last that the same pack could go on from.
    """
    part = task.part
    if isinstance(part, ChartPack) or part.is_stacked or not part.plugins:
        yield from _run(task, state)
        return
    # Estimators of a user's: each has a process of its own, since one could change the next one's libraries.
    whole: Any = None
    for number, slot in enumerate(part.slots):
        others = frozenset(trial.trial_id for place, trial in enumerate(part.trials) if place != slot)
        for event in _run(dataclasses.replace(task, part=dataclasses.replace(part, finished=others)), None):
            if isinstance(event, Died):
                yield event
                return
            if isinstance(event, Progress):
                yield Progress((number + event.part) / len(part.slots))
            elif isinstance(event, Done):
                whole = event.result
                if number < len(part.slots) - 1:
                    yield Rows(whole.rows, whole.latents)
    yield Done(whole)


def _run(task: Task, state: Mapping[str, np.ndarray] | None) -> Iterator[Progress | State | Rows | Done | Died]:
    """The trials of a task in one process, and in another one where the code of one ended it."""
    lost: dict[int, Lost] = {}
    part = task.part
    if part.plugins or "torch" in sys.modules:
        _import_training()
    while True:
        child = _take_child()
        end: Any = None
        try:
            for event in child.train(dataclasses.replace(task, part=part), state, lost):
                if isinstance(event, (Done, _Ended)):
                    end = event
                    break
                if isinstance(event, State):
                    state = event.arrays
                if isinstance(event, Rows) and isinstance(part, Pack):
                    part = dataclasses.replace(part, finished=part.finished | {row["trial_id"] for row in event.rows})
                yield event
        finally:
            if isinstance(end, Done) and not part.plugins and child.gained() < KEPT:
                _idle.append(child)
            else:
                child.end()
        if isinstance(end, Done):
            yield end
            return
        at = end.at
        if at.slot is None or end.is_passing:
            several = isinstance(part, Pack) and len(part.slots) > 1
            yield Died(end.error, end.is_passing, end.is_too_large and several)
            return
        # One trial is to blame: the others begin again without it, so that what was saved of all together is of no use.
        lost[at.slot], state = Lost(end.error, at.makes_data), None


def _import_training() -> None:
    """Imports what trains, here once and not in every process that is forked: torch._dynamo, which optimisers import, takes seconds.

    Its import makes a folder for compiled code, of which there is none here: a new one that is empty is removed.
    """
    importlib.import_module("bench.train.pack")
    if "torch._dynamo" not in sys.modules:
        scratch = Path(tempfile.gettempdir())
        before = set(scratch.glob(COMPILED))
        importlib.import_module("torch._dynamo")
        for folder in set(scratch.glob(COMPILED)) - before:
            with suppress(OSError):  # another process compiles in it
                folder.rmdir()


class _Ended(NamedTuple):
    error: Exception
    at: At  # the trial whose own code was running, if any
    is_passing: bool = False
    is_too_large: bool = False


class _Raised(NamedTuple):
    text: str


# --- the process that watches


class _Child:
    """A process that trains one task after the other."""

    def __init__(self):
        # Forked where that is safe: a new interpreter would import torch first.
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._pipe, os.getpid()), daemon=True)
        self._process.start()
        other.close()
        self._forked_with = self.memory()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def train(self, task: Task, state: Any, lost: Mapping[int, Lost]) -> Iterator[Any]:
        """What the process says of a task, ending with `Done` or `_Ended`."""
        at = At(None)
        deadline, reason = float("inf"), ""
        allowed = MEMORY_SHARE * free_memory() + self.memory()
        last, beat = Progress(0.0), time.monotonic()
        try:
            self._pipe.send((task, state, dict(lost)))
        except OSError:
            yield self._ended(at)
            return
        while True:
            if self._pipe.poll(SECONDS_BETWEEN_LOOKS):
                try:
                    event = self._pipe.recv()
                except (EOFError, OSError):
                    yield self._ended(at)
                    return
                if isinstance(event, At):
                    at = event
                elif isinstance(event, Clock):
                    deadline = float("inf") if event.seconds is None else time.monotonic() + event.seconds
                    reason = event.reason
                elif isinstance(event, _Raised):
                    yield _Ended(EndedItsProcess(event.text), at)
                    return
                else:
                    last = event if isinstance(event, Progress) else last
                    beat = time.monotonic()
                    yield event
                    if isinstance(event, Done):
                        return
            if time.monotonic() > deadline:
                self.end()
                yield _Ended(OutOfTime(reason), at)
                return
            if self.memory() > allowed:
                self.end()
                text = f"it took more than {allowed / 2**30:.1f} GB of memory, half of what was free"
                yield _Ended(LostProcess(text), at, is_too_large=True)
                return
            if time.monotonic() > beat + SECONDS_BETWEEN_BEATS:
                beat = time.monotonic()
                yield last

    def memory(self) -> int:
        """Bytes that the process holds."""
        try:
            return psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:
            return 0

    def gained(self) -> int:
        """Bytes that the process holds beside those it was forked with."""
        return self.memory() - self._forked_with

    def _ended(self, at: At) -> _Ended:
        """How the process ended that says nothing any more."""
        self._process.join(SECONDS_TO_EXIT)
        code = self._process.exitcode
        if code in (None, CLOSED):
            self.end()
            return _Ended(EndedItsProcess("its process closed the descriptors by which it says what it has"), at)
        if code == -signal.SIGKILL:
            return _Ended(LostProcess("its process was killed, from outside or for want of memory"), At(None), True)
        how = f"by the signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return _Ended(EndedItsProcess(f"its process ended {how}"), at)

    def end(self) -> None:
        """Ends the process, with all that it has begun."""
        if self._process.pid is not None and self._process.exitcode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.join()
        self._pipe.close()


_idle: list[_Child] = []


def _take_child() -> _Child:
    while _idle:
        child = _idle.pop()
        if child.is_alive():
            return child
        child.end()
    return _Child()


def end_idle() -> None:
    """Ends the process that waits for a next task, if there is one."""
    while _idle:
        _idle.pop().end()


atexit.register(end_idle)


# --- the process that trains


def _serve(pipe: Any, of_parent: Any, parent: int) -> None:
    of_parent.close()
    faulthandler.disable()  # how this process ends is said in a row
    os.setsid()  # Ctrl-C is for the process that watches; and what is begun here can be ended together
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _idle.clear()
    while True:
        try:
            task, state, lost = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)
        try:
            try:
                pipe.send(Done(_work(task, Reporter(pipe.send, state, lost))))
            except BaseException as error:  # of the pack as a whole, and not even an Exception
                pipe.send(_Raised(f"{type(error).__name__}: {error}"))
        except OSError:
            os._exit(CLOSED)


def _end_with(parent: int) -> None:
    """Ends this process when the one that watches it is gone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


def _work(task: Task, reporter: Reporter) -> Any:
    from bench.train import chart, engine
    from bench.train.pack import run_pack

    engine.use_one_thread()
    if isinstance(task.part, ChartPack):
        plugins.load(task.part.plugins)
        trained = chart.train(task.part.specs, task.device, reporter.progress)
        return [atlas.arrays() if isinstance(atlas, chart.Atlas) else None for atlas in trained]
    charts = {chart_id: chart.Atlas.of_arrays(arrays) for chart_id, arrays in task.charts.items()}
    return run_pack(task.part, task.device, task.time_limit, charts, reporter, task.keep)
