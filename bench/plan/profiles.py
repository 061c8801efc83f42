"""How much is spent: seeds per cell, and the budget of every method that the engine trains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """`seeds` per cell; `steps`, `batch_size` and `restarts` of every torch method alike."""

    seeds: int
    steps: int
    batch_size: int
    restarts: int


PROFILES = {
    "quick": Profile(seeds=2, steps=600, batch_size=128, restarts=1),
    "default": Profile(seeds=5, steps=832, batch_size=128, restarts=1),
    "paper": Profile(seeds=10, steps=2432, batch_size=128, restarts=4),
}
