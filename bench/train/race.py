"""Restarts that race: all are trained for a part of the steps, those with the best validation objective go on, the best one stays."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bench.plan.packs import CHUNK, RACE, survivors
from bench.train.engine import Stack
from datasets import Split


def train(stack: Stack, validation: Mapping[int, Split], deadline: float = math.inf) -> None:
    """Trains a stack, the restarts of each owner racing, and leaves those that were trained to the end.

    `validation` has the points of each owner. Raises what `Stack.train` raises.
    """
    method = stack.method
    if method.restarts > 1:
        stack.train(race_ends(method.steps), deadline)
        keep_best(stack, validation, survivors(method.restarts))
    stack.train(deadline=deadline)


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
