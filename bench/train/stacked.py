"""Trials of methods written in torch: the models of a pack trained as one stack, encoded and scored."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from bench import statuses
from bench.plan.packs import Pack, survivors
from bench.plan.trials import Trial, model_shape
from bench.scores.training import agreement, reconstruction_error
from bench.train import encodings, race
from bench.train.data import standardised
from bench.train.engine import Job, Stack
from bench.train.errors import OutOfTime
from bench.train.outcomes import Outcome, failure, scored, sparse_support
from datasets import Instance


def jobs_of(trial: Trial, instance: Instance, n_models: int, owner: int) -> list[Job]:
    """`n_models` models of a trial that differ in their own seeds alone."""
    return [Job(instance.train, trial.init_seed(k), trial.noise_seed(k), owner) for k in range(n_models)]


def run(pack: Pack, device: str, time_limit: float | None = None) -> tuple[list[Outcome], float, float]:
    """Outcomes of the pack's trials, seconds of training, seconds of scoring.

    `time_limit` is the seconds of training per trial; the stack, which trains as one, has those of all its trials.
    """
    start = time.perf_counter()
    method = pack.trials[0].make_method()
    outcomes = [Outcome(statuses.DIVERGED, "every restart became NaN or infinite") for _ in pack.trials]
    instances: dict[int, Instance] = {}
    for index, trial in enumerate(pack.trials):
        try:
            instances[index] = standardised(trial)
        except Exception as error:  # this trial has no data; its neighbours train
            outcomes[index] = failure(error)
    if not instances:
        return outcomes, time.perf_counter() - start, 0.0
    jobs = [
        job
        for index, instance in instances.items()
        for job in jobs_of(pack.trials[index], instance, method.restarts, owner=index)
    ]
    allowed = math.inf if time_limit is None else time_limit * len(instances)
    deadline = time.monotonic() + allowed
    stack = Stack(method, model_shape(pack.trials[0].make_dataset()), jobs, device)
    validation = {index: instance.validation for index, instance in instances.items()}
    try:
        race.train(stack, validation, deadline)
    except OutOfTime as error:
        for index in set(stack.owners):
            outcomes[index] = failure(OutOfTime(f"{error} after the {allowed:g} s of its pack of {len(instances)}"))
        return outcomes, time.perf_counter() - start, 0.0
    train_s = time.perf_counter() - start

    start = time.perf_counter()
    agreements = _agreements(stack, pack.trials, instances)
    objective = race.keep_best(stack, validation)
    for index, outcome in zip(stack.owners, _scored(stack, pack.trials, instances, objective, agreements), strict=True):
        outcomes[index] = outcome
    return outcomes, train_s, time.perf_counter() - start


def _agreements(stack: Stack, trials: Sequence[Trial], instances: dict[int, Instance]) -> dict[int, float]:
    """The consistency of each trial of which several restarts were trained to the end.

    One that cannot be read out has none here; `_scored`, which reads it out too, says why.
    """
    if survivors(stack.method.restarts) == 1 or not stack.alive:
        return {}
    encoded = encodings.encode(stack, [instances[index] for index in stack.owners], ["validation"])
    found: dict[int, list[np.ndarray]] = {}
    for slot, index in enumerate(stack.owners):
        try:
            own = encodings.estimates(stack.method, encoded, slot, instances[index], trials[index].init_seed())
        except Exception:
            continue
        found.setdefault(index, []).append(own["validation"])
    return {index: agreement(several) for index, several in found.items() if len(several) > 1}


def _scored(
    stack: Stack,
    trials: Sequence[Trial],
    instances: dict[int, Instance],
    objective: np.ndarray,
    agreements: dict[int, float],
) -> list[Outcome]:
    """The outcome of each model that the stack holds, one of a trial."""
    if not stack.alive:
        return []
    method = stack.method
    encoded = encodings.encode(stack, [instances[index] for index in stack.owners], ["validation", "test"])
    decoded = stack.decode(encoded["test"])
    # A read-out makes other estimates of those that the decoder takes.
    is_wanted = not method.has_readout and any(sparse_support(instances[index]) is not None for index in stack.owners)
    strength = stack.jacobian_strength(encoded["test"]) if is_wanted else None
    outcomes = []
    for slot, index in enumerate(stack.owners):
        instance = instances[index]
        scores = {"objective": float(objective[slot]), "consistency": agreements.get(index)}
        if decoded is not None:
            scores["recon_nmse"] = reconstruction_error(instance.test.x, decoded[slot])
        try:
            own = encodings.estimates(method, encoded, slot, instance, trials[index].init_seed())
            own_strength = None if strength is None else strength[slot]
            outcomes.append(scored(instance, own["validation"], own["test"], scores, own_strength))
        except Exception as error:  # this trial cannot be scored; its neighbours can
            outcomes.append(failure(error))
    return outcomes
