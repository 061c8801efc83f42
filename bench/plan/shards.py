"""Shards: fixed parts of the trials of any plan, so that several machines share a run without talking to each other.

Trials are dealt out by data set, so that no chart is trained twice: all trials of a data set start from charts of their own data set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.plan.identity import digest
from bench.plan.trials import Trial
from bench.registry import UsageError

MAX_SHARDS = 10_000


@dataclass(frozen=True)
class Shard:
    """One of `of` parts, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def suffix(self) -> str:
        """What it adds to the name of a run's folder."""
        return f".{self.number}of{self.of}"

    def part(self, trials: Iterable[Trial]) -> list[Trial]:
        """Those of `trials` that are this shard's, in their order."""
        return [trial for trial in trials if self._number(trial) == self.number]

    def _number(self, trial: Trial) -> int:
        """The shard of a trial: the same on every machine, whatever else is planned, and for all trials of one data set.

        A hash deals out the cells, and the seeds of a cell take one shard after the other: with as many seeds as shards, or a multiple, all
        shards have equally many data sets, and with fewer seeds their numbers differ less than a hash of everything would make them.
        """
        cell = int(digest([trial.dataset, trial.dataset_fields, trial.root_seed]), 16)
        return (cell + trial.seed) % self.of + 1


def parse_shard(text: str) -> Shard:
    """The shard that `3/8` names. Raises UsageError."""
    number, slash, of = text.partition("/")
    if not (slash and _is_count(number) and _is_count(of)):
        raise UsageError(f"--shard {text}: name one of several shards, as 3/8 for the third of eight")
    shard = Shard(int(number), int(of))
    if not 1 <= shard.number <= shard.of <= MAX_SHARDS:
        raise UsageError(
            f"--shard {text}: shards are counted from 1 to their number, which is at most {MAX_SHARDS}, as in 3/8"
        )
    return shard


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
