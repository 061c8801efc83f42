"""Restarts that race: all are trained for a part of the steps, those with the best validation objective go on, the best one stays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from bench.plan.packs import CHUNK, RACE, survivors
from bench.train.engine import Stack
from datasets import Split


def train(
    stack: Stack,
    validation: Mapping[int, Split],
    deadline: float = math.inf,
    after_chunk: Callable[[], None] | None = None,
) -> None:
    """Trains a stack, the restarts of each owner racing, and leaves those that were trained to the end.

    `validation` has the points of each owner. A stack that was saved by `after_chunk` goes on from where it was. Raises what `Stack.train`
    raises.
    """
    method = stack.method
    if method.restarts > 1 and stack.step < race_ends(method.steps):
        stack.train(race_ends(method.steps), deadline, after_chunk)
        keep_best(stack, validation, survivors(method.restarts))
    stack.train(deadline=deadline, after_chunk=after_chunk)


def part_done(stack: Stack) -> float:
    """The part of the model-steps of a stack whose restarts race that is done."""
    method = stack.method
    race = min(race_ends(method.steps), method.steps) if method.restarts > 1 else 0
    early, late = min(stack.step, race), max(stack.step - race, 0)
    n_late = survivors(method.restarts)
    return (method.restarts * early + n_late * late) / (method.restarts * race + n_late * (method.steps - race))


def race_ends(steps: int) -> int:
    """The step at which the restarts of a trial are compared and most of them stop: after a quarter, in whole chunks."""
    return max(1, steps // RACE // CHUNK) * CHUNK


def keep_best(stack: Stack, validation: Mapping[int, Split], n: int = 1) -> np.ndarray:
    """Leaves each owner's `n` models with the best validation objective, in the order of the owners; returns their objectives."""
    if not stack.alive:
        return np.zeros(0)
    owners = np.array(stack.owners)
    objective = stack.objective([validation[owner] for owner in stack.owners])
    # What is not finite comes last: it is chosen only if its owner has nothing else.
    order = np.argsort(np.where(np.isfinite(objective), objective, np.inf), kind="stable")
    best = np.concatenate([order[owners[order] == owner][:n] for owner in np.unique(owners)])
    stack.keep(best.tolist())
    return objective[best]
