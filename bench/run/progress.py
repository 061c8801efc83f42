"""How far a run is: one live line on a terminal, a line every ten seconds elsewhere, with an estimate of the time left."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bench.plan.packs import duration

SECONDS_BETWEEN_LINES = 10
NAMED = 3  # parts that run, in the line
WIDTH = 20  # of the bar, in letters


@dataclass
class Part:
    """`expected_s` is what it would take on one core of the machine that the constants of the plan were measured on."""

    name: str
    expected_s: float
    started: float | None = None
    done: float = 0.0  # part of it, in [0, 1]


@dataclass
class Monitor:
    """Shows how far the parts of a run are. `pace` is the seconds that an expected second takes here, as far as is known before."""

    console: Console
    workers: int
    unit: str
    pace: float = 1.0
    done: int = 0
    failed: int = 0
    doing: str = ""  # what is done before any part can run
    _parts: dict[Hashable, Part] = field(default_factory=dict)  # that are not done
    _waiting_s: float = 0.0
    _running: dict[Hashable, Part] = field(default_factory=dict)
    _expected_s: float = 0.0
    _known: dict[str, tuple[float, float]] = field(
        default_factory=dict
    )  # by name: seconds of what is done, and those expected
    _begun: float = field(default_factory=time.monotonic)
    _last_line: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        self._live = Live(console=self.console, get_renderable=self._line, refresh_per_second=2, transient=True)

    def __enter__(self) -> Monitor:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_):
        if self.console.is_terminal:
            self._live.stop()
        failed = f", {self.failed} of them with failed trials" if self.failed else ""
        self.console.print(f"{self.unit}: {self.done} done{failed}, in {duration(self._elapsed)}")

    def add(self, key: Hashable, name: str, expected_s: float) -> None:
        """A part that is to be done; those of one name take a similar time for each second that is expected."""
        self._parts[key] = Part(name, expected_s)
        self._expected_s += expected_s
        self._waiting_s += expected_s

    def start(self, key: Hashable) -> None:
        if key not in self._running:
            self._running[key] = part = self._parts[key]
            part.started = time.monotonic()
            self._waiting_s -= part.expected_s

    def progress(self, key: Hashable, done: float) -> None:
        self.start(key)
        self._running[key].done = done

    def put_back(self, key: Hashable) -> None:
        """A part did not end, and waits again."""
        if self._running.pop(key, None):
            part = self._parts[key]
            part.started, part.done = None, 0.0
            self._waiting_s += part.expected_s

    def remove(self, key: Hashable) -> None:
        """A part is not to be done any more: others take its place."""
        self.put_back(key)
        part = self._parts.pop(key)
        self._waiting_s -= part.expected_s
        self._expected_s -= part.expected_s

    def finish(self, key: Hashable, failed: bool) -> None:
        """A part is done; `failed` says whether something went wrong in it."""
        self.start(key)
        part = self._running.pop(key)
        del self._parts[key]
        self.done += 1
        self.failed += failed
        taken, expected = self._known.get(part.name, (0.0, 0.0))
        self._known[part.name] = taken + time.monotonic() - (part.started or 0.0), expected + part.expected_s

    def update(self) -> None:
        """Prints a line, where there is no terminal, if it is time for one."""
        if not self.console.is_terminal and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.console.print(self._text(), soft_wrap=True)

    def say(self, doing: str) -> None:
        """Says what is done before any part can run."""
        self.doing = doing
        if doing and not self.console.is_terminal:
            self.console.print(doing)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    def left_s(self) -> float:
        """A guess of the seconds that are left."""
        running = []
        for part in self._running.values():
            guess = self._pace_of(part.name) * part.expected_s
            taken = time.monotonic() - (part.started or 0.0)
            # Of what is far enough, its own speed says more than others of its name.
            rest = taken / part.done * (1 - part.done) if part.done > 0.2 else max(guess - taken, 0.1 * guess)
            running.append(rest)
        waiting: dict[str, float] = {}
        longest = 0.0
        for key, part in self._parts.items():
            if key not in self._running:
                waiting[part.name] = waiting.get(part.name, 0.0) + part.expected_s
                longest = max(longest, part.expected_s * self._pace_of(part.name))
        total = sum(running) + sum(self._pace_of(name) * seconds for name, seconds in waiting.items())
        return max(total / self.workers, longest, *running, 0.0)

    def _pace_of(self, name: str) -> float:
        """Seconds per expected second: of the parts of this name that are done, else of all, and before any is, the machine's."""
        taken, expected = (sum(values) for values in zip(*self._known.values(), strict=True)) if self._known else (0, 0)
        usual = self._expected_s / max(
            len(self._parts) + self.done, 1
        )  # of a part: what was known before counts as one
        overall = (taken + self.pace * usual) / (expected + usual) if usual else self.pace
        taken, expected = self._known.get(name, (0.0, 0.0))
        return (taken + overall * usual) / (expected + usual) if usual else overall

    def _text(self) -> str:
        total = self.done + len(self._parts)
        texts = [f"{self.unit}: {self.done} of {total} done"]
        if self.doing:
            return f"{texts[0]}, {self.doing}"
        named = [f"{part.name} {part.done:.0%}" for part in list(self._running.values())[:NAMED]]
        more = len(self._running) - len(named)
        names = f" ({', '.join(named)}{f' and {more} more' if more else ''})" if named else ""
        texts += [f"{self.failed} failed"] if self.failed else []
        texts += [f"{len(self._running)} running{names}", f"{duration(self._elapsed)} gone"]
        return ", ".join([*texts, f"about {duration(self.left_s())} left"])

    def _part_done(self) -> float:
        left = self._waiting_s + sum(part.expected_s * (1 - part.done) for part in self._running.values())
        return 1 - left / self._expected_s if self._expected_s else 1.0

    def _line(self) -> Text:
        full = round(WIDTH * min(max(self._part_done(), 0.0), 1.0))
        bar = "━" * full + "─" * (WIDTH - full)
        return Text(f"{bar} {self._part_done():4.0%} {self._text()}", no_wrap=True, overflow="ellipsis")
