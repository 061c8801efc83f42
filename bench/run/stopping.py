"""Ending well: a batch system's warning, a signal or a budget of time ends a run so that nothing which is trained is lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.plan.packs import duration
from bench.train.reporter import SECONDS_BETWEEN_STATES

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # the latter is what Slurm is asked to send some time before the end
PATIENCE_S = SECONDS_BETWEEN_STATES + 5.0  # for every pack that runs to say what it could go on from


@dataclass
class Stop:
    """`reason` says why the run is to end, once it is; `ends` is the time.monotonic() at which it must have ended."""

    reason: str = ""
    since: float | None = None
    budget_end: float = float("inf")
    budget_text: str = ""

    def is_wanted(self) -> bool:
        """Whether nothing more is to be started."""
        if not self.reason and time.monotonic() > self.budget_end - PATIENCE_S:
            self.ask(self.budget_text)
        return bool(self.reason)

    def is_due(self) -> bool:
        """Whether packs that have not said what they could go on from are waited for no longer."""
        return self.since is not None and time.monotonic() > self.since + PATIENCE_S

    def ask(self, reason: str) -> None:
        if not self.reason:
            self.reason, self.since = reason, time.monotonic()


@contextmanager
def listening(time_budget: float | None = None) -> Iterator[Stop]:
    """A `Stop` that signals and the budget, in seconds from now, set. Signals are heard in the main thread alone, where Python has them."""
    stop = Stop()
    if time_budget is not None:
        stop.budget_end = time.monotonic() + time_budget
        stop.budget_text = f"the time budget of {duration(time_budget)} is spent"
    former = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            former[number] = signal.signal(number, lambda got, _: stop.ask(f"stopped by {signal.Signals(got).name}"))
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
