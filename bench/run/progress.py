"""How far a run is: one live line on a terminal, a line now and then elsewhere, with an estimate of the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bench.plan.packs import duration, expected_time

SECONDS_BETWEEN_LINES = 30


@dataclass
class Monitor:
    """Counts the parts of a run that are done. `expected` is a rough guess of the seconds of each part on one core."""

    expected: Sequence[float]
    console: Console
    workers: int
    unit: str = "packs"
    running: int = 0
    done: int = 0
    failed: int = 0
    _left: list[float] = field(init=False)
    _started: float = field(default_factory=time.monotonic)
    _last_finish: float = field(default_factory=time.monotonic)
    _pace: float = 1.0  # seconds per expected second, from the parts that finished
    _last_line: float = float("-inf")

    def __post_init__(self):
        self._left = list(self.expected)
        self._bar = Progress(
            TextColumn(self.unit),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self.console,
        )
        self._task = self._bar.add_task("", total=len(self.expected))
        self._live = Live(self._bar, console=self.console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Monitor:
        if self.console.is_terminal:
            self._live.start()
        self.update()
        return self

    def __exit__(self, *_):
        if self.console.is_terminal:
            self._live.stop()
        self.console.print(
            f"{self.unit}: {self.done} done, {self.failed} of them with failed trials, in {duration(self._elapsed)}"
        )

    def started(self, parts: int = 1) -> None:
        self.running += parts
        self.update()

    def finished(self, expected: float, failed: bool) -> None:
        """One part that was expected to take so long is done; `failed` says whether something went wrong in it."""
        self.running -= 1
        self.done += 1
        self.failed += failed
        self._left.remove(expected)
        self._last_finish = time.monotonic()
        self._pace = self._elapsed * self.workers / (sum(self.expected) - sum(self._left))
        self.update()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def update(self) -> None:
        since = time.monotonic() - self._last_finish
        left = max(self._pace * expected_time(self._left, self.workers) - since, 0)
        text = f"{self.running} running, {self.failed} failed, about {duration(left)} left"
        if self.console.is_terminal:
            self._bar.update(self._task, completed=self.done, description=text)
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self.console.print(f"{self.unit}: {self.done} of {len(self.expected)} done, {text}")
            self._last_line = time.monotonic()
