"""What training says while it runs: how far it is, what it works on, what it has so far, and what it could go on from.

Whoever runs a pack listens: a process beside it, which then knows whose code ended the process, and when to end it. Where nobody listens,
nothing is said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

SECONDS_BETWEEN_STATES = 20.0  # what a kill costs, at most, and the time that a run takes to end well
STATE_SHARE = 0.02  # of the time may go into saving: where a state is large, states are further apart
SECONDS_BETWEEN_NEWS = 0.5


class At(NamedTuple):
    """Code that concerns one trial alone begins, by its slot in the pack, or has ended (None). `makes_data`: it is the data set's."""

    slot: int | None
    makes_data: bool = False


class Clock(NamedTuple):
    """What follows must end within so many seconds, or its process is ended; `reason` is then what its rows say. None: it has ended."""

    seconds: float | None
    reason: str = ""


class Progress(NamedTuple):
    """The part of the work that is done, in [0, 1]."""

    part: float


class Lost(NamedTuple):
    """What became of a trial that ended its process, and whether that was in making its data."""

    error: Exception
    makes_data: bool


class State(NamedTuple):
    """Arrays from which the same pack goes on, in another process too, to the same bits."""

    arrays: dict[str, np.ndarray]


class Rows(NamedTuple):
    """Rows of trials that are finished, and the arrays that are kept of them, by trial and name."""

    rows: list[dict[str, Any]]
    latents: dict[str, np.ndarray]


def _nobody(event: Any) -> None:
    pass


@dataclass
class Reporter:
    """`listener` gets the events above. `state` is what a former process left of the same pack.

    `lost` has trials, by slot, that ended a former process: their code is not run again.
    """

    listener: Callable[[Any], None] = _nobody
    state: Mapping[str, np.ndarray] | None = None
    lost: Mapping[int, Lost] = field(default_factory=dict)
    _next_state: float = field(init=False)
    _next_news: float = 0.0

    def __post_init__(self):
        self._next_state = time.monotonic() + SECONDS_BETWEEN_STATES

    @contextmanager
    def at(self, slot: int, makes_data: bool = False) -> Iterator[None]:
        """Around code that concerns one trial alone. Raises what that trial is lost to, if it is lost there or before."""
        if slot in self.lost and self.lost[slot].makes_data >= makes_data:
            raise self.lost[slot].error
        self.listener(At(slot, makes_data))
        yield
        self.listener(At(None))  # not where an exception passes: the next slot says so itself, or the pack ends

    @contextmanager
    def clock(self, seconds: float | None, reason: str) -> Iterator[None]:
        """Around what must end in time; without a limit, nothing."""
        if seconds is not None:
            self.listener(Clock(seconds, reason))
        try:
            yield
        finally:
            if seconds is not None:
                self.listener(Clock(None))

    def progress(self, part: float) -> None:
        """Says it now and then, however often this is called."""
        now = time.monotonic()
        if now >= self._next_news:
            self._next_news = now + SECONDS_BETWEEN_NEWS
            self.listener(Progress(part))

    def save(self, make: Callable[[], dict[str, np.ndarray]]) -> None:
        """Says what training could go on from, as `make` gives it, now and then."""
        start = time.monotonic()
        if start >= self._next_state:
            self.listener(State(make()))
            end = time.monotonic()
            self._next_state = end + max(SECONDS_BETWEEN_STATES, (end - start) / STATE_SHARE)
