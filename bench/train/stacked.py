"""Trials of methods written in torch: the models of a pack trained as one stack, encoded and scored."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from bench import statuses
from bench.plan.charts import budget, chart_of, starts_linear
from bench.plan.packs import Pack
from bench.plan.trials import Trial, model_shape
from bench.scores import CURVE, LOOK, TERM
from bench.scores.training import agreement, reconstruction_error, ties
from bench.train import chart, encodings, kept, models, race
from bench.train.chart import Atlas
from bench.train.data import judge, standardised
from bench.train.engine import Job, Stack
from bench.train.errors import OutOfTime
from bench.train.outcomes import Outcome, failure, scored, sparse_support
from bench.train.reporter import Reporter
from datasets import Instance
from datasets.points import PARTS

TRAINED_S = "trained_s"  # beside the stack's own arrays in what a pack goes on from
SECONDS_TO_SCORE = 60.0  # of a trial, ten times what the slowest of this project's data take
LEAST_GRACE_S, GRACE = (
    5.0,
    0.1,
)  # how much longer than it may, at least and in part, a stack trains before its process is ended


def jobs_of(trial: Trial, instance: Instance, n_models: int, owner: int, atlas: Atlas | None) -> list[Job]:
    """`n_models` models of a trial that differ in their own seeds alone, and in what they start from."""
    method = trial.make_method()
    assumes = method.assumes
    jobs = []
    for k in range(n_models):
        seed = trial.init_seed(k)
        start = None
        if atlas is not None:
            start = atlas.start(*atlas.choose(assumes, k, seed), instance.train.x)
        elif starts_linear(trial):
            start = chart.linear(model_shape(trial.make_dataset()), budget(method), instance.train.x, k, seed)
        jobs.append(Job(instance.train, seed, trial.noise_seed(k), owner, start, instance.validation))
    return jobs


def run(
    pack: Pack,
    device: str,
    time_limit: float | None = None,
    charts: Mapping[str, Atlas] | None = None,
    reporter: Reporter | None = None,
    keep: Collection[str] = (),
) -> tuple[list[Outcome], float, float]:
    """Outcomes of the pack's trials, seconds of training, seconds of scoring.

    `time_limit` is the seconds of training per trial; the stack, which trains as one, has those of all its trials. Of the trials' charts
    those that are not in `charts`, by their ids, are trained first; their time is that of no trial. `keep` names the kinds of
    `bench.train.kept` that outcomes have.
    """
    start = time.perf_counter()
    reporter = reporter or Reporter()
    method = pack.trials[0].make_method()
    outcomes = [Outcome(statuses.DIVERGED, "every restart became NaN or infinite") for _ in pack.trials]
    instances: dict[int, Instance] = {}
    atlases: dict[int, Atlas | None] = {}
    jobs: list[Job] = []
    for index, trial in enumerate(pack.trials):
        try:
            with reporter.at(index, makes_data=True):
                instance = standardised(trial)
            with reporter.at(index):
                spec = chart_of(trial)
                atlases[index] = None if spec is None else chart.obtain(spec, device, charts or {})
                jobs += jobs_of(trial, instance, method.restarts, index, atlases[index])
            instances[index] = instance
        except BaseException as error:  # this trial has no data, or no chart; its neighbours train
            outcomes[index] = failure(error)
    if not instances:
        return outcomes, time.perf_counter() - start, 0.0
    shape = model_shape(pack.trials[0].make_dataset(), method.sees_latents)
    allowed = math.inf if time_limit is None else time_limit * len(instances)
    of_pack = f"the {allowed:g} s of its pack of {len(instances)}"
    grace_s = max(LEAST_GRACE_S, GRACE * allowed)
    longest = None if time_limit is None else allowed + grace_s  # of what the stack cannot end itself
    with reporter.clock(longest, f"building its model did not end after {of_pack}"):
        stack = Stack(method, shape, jobs, device)
    before_s = 0.0  # of training, in former processes
    if reporter.state is not None:
        try:
            stack.load_state_dict({name: torch.tensor(array) for name, array in reporter.state.items()})
            before_s = float(reporter.state[TRAINED_S])
        except Exception:  # it is of no such stack, which then begins anew
            stack = Stack(method, shape, jobs, device)
    start = time.perf_counter() - before_s
    deadline = time.monotonic() + allowed - before_s

    def after_chunk() -> None:
        reporter.progress(race.part_done(stack))
        reporter.save(lambda: _arrays(stack) | {TRAINED_S: np.array(time.perf_counter() - start)})

    validation = {index: instance.validation for index, instance in instances.items()}
    # The stack looks at the clock after each chunk; what does not even end a chunk is ended from outside.
    ends = None if time_limit is None else allowed - before_s + grace_s
    try:
        with reporter.clock(ends, f"a step of training did not end after {of_pack}"):
            race.train(stack, validation, deadline, after_chunk)
    except OutOfTime as error:
        for index in set(stack.owners):
            outcomes[index] = failure(OutOfTime(f"{error} after {of_pack}"))
        _add_curves(stack, jobs, outcomes)
        return outcomes, time.perf_counter() - start, 0.0
    train_s = time.perf_counter() - start

    start = time.perf_counter()
    with reporter.clock(longest, f"reading its models out did not end after {of_pack}"):
        best, found = _ties(stack, pack.trials, instances)
        stack.keep(best)
        read = _read(stack, instances)
    # What is a method's own there, as its read-out, is ended too; what is not takes its time.
    to_score = None if longest is None else longest + SECONDS_TO_SCORE * len(instances)
    with reporter.clock(to_score, f"scoring its models did not end after {to_score or 0:g} s"):
        scores = _scored(stack, read, pack.trials, instances, found, reporter, keep)
    for index, outcome in zip(stack.owners, scores, strict=True):
        outcomes[index] = outcome
    for index, own in atlases.items():
        outcomes[index].facts |= {} if own is None else own.facts
    _add_curves(stack, jobs, outcomes)
    return outcomes, train_s, time.perf_counter() - start


def _add_curves(stack: Stack, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Gives each outcome the learning curve of the model that the stack holds of its trial, or else of the one that lasted longest."""
    left = set(stack.alive)
    for owner in {job.owner for job in jobs}:
        own = [place for place, job in enumerate(jobs) if job.owner == owner]
        curves = [stack.curve(place) for place in own if place in left] or [stack.curve(place) for place in own]
        curve = max(curves, key=lambda own: len(own["step"]))
        arrays = {CURVE: np.stack([curve.pop(name) for name in LOOK], axis=1)}
        outcomes[owner].latents |= arrays | {TERM + name: values for name, values in curve.items()}


def _arrays(stack: Stack) -> dict[str, np.ndarray]:
    return {name: value.cpu().numpy() for name, value in stack.state_dict().items()}


def _ties(
    stack: Stack, trials: Sequence[Trial], instances: dict[int, Instance]
) -> tuple[list[int], dict[int, dict[str, Any]]]:
    """The position of each trial's best model, in the order of the trials; and by trial objective, n_ties, agreement, objective_blocks.

    A restart that cannot be read out agrees with nothing here; `_scored`, which reads the best one out too, says why.
    """
    if not stack.alive:
        return [], {}
    owners = np.array(stack.owners)
    blocks = stack.objectives([instances[index].validation for index in stack.owners])
    several = [index for index in np.unique(owners) if (owners == index).sum() > 1]
    encoded = encodings.encode(stack, [instances[index] for index in stack.owners], ["validation"]) if several else {}
    positions: list[int] = []
    found: dict[int, dict[str, Any]] = {}
    for index in np.unique(owners).tolist():
        slots = np.flatnonzero(owners == index)
        best = int(slots[np.argmin(np.nan_to_num(blocks[slots].mean(axis=1), nan=np.inf))])
        positions.append(best)
        found[index] = {"objective": float(blocks[best].mean()), "objective_blocks": blocks[best].tolist()}
        if index in several:
            equal = slots[ties(blocks[slots])]
            representations = []
            for slot in equal:
                try:
                    own = encodings.estimates(stack.method, encoded, slot, instances[index], trials[index].init_seed())
                except BaseException as error:
                    failure(error)
                    continue
                representations.append(own["validation"])
            found[index] |= {"n_ties": len(equal)}
            found[index] |= {"agreement": agreement(representations) if len(representations) > 1 else None}
    return positions, found


class Read(NamedTuple):
    """What the models of a stack make of data, each as `encodings.encode`, `Stack.decode` and `Stack.jacobian_strength` give it."""

    encoded: dict[str, np.ndarray]
    decoded: np.ndarray | None
    strength: np.ndarray | None


def _read(stack: Stack, instances: dict[int, Instance]) -> Read | None:
    """What is scored of the models that the stack holds; None where it holds none."""
    if not stack.alive:
        return None
    encoded = encodings.encode(stack, [instances[index] for index in stack.owners], ["validation", "test"])
    decoded = stack.decode(encoded["test"])
    has_support = any(sparse_support(instances[index]) is not None for index in stack.owners)
    is_wanted = has_support and not stack.method.has_readout
    return Read(encoded, decoded, stack.jacobian_strength(encoded["test"]) if is_wanted else None)


def _scored(
    stack: Stack,
    read: Read | None,
    trials: Sequence[Trial],
    instances: dict[int, Instance],
    found: dict[int, dict[str, Any]],
    reporter: Reporter,
    keep: Collection[str],
) -> list[Outcome]:
    """The outcome of each model that the stack holds, one of a trial."""
    if read is None:
        return []
    method, (encoded, decoded, strength) = stack.method, read
    outcomes = []
    for slot, index in enumerate(stack.owners):
        instance = instances[index]
        scores = dict(found[index])
        facts = {"objective_blocks": scores.pop("objective_blocks")}
        if decoded is not None:
            scores["recon_nmse"] = reconstruction_error(instance.test.x, decoded[slot])
        try:
            with reporter.at(index):
                own = encodings.estimates(method, encoded, slot, instance, trials[index].init_seed())
                own_strength = None if strength is None else strength[slot]
                # A read-out makes other estimates of those that the decoder takes.
                decode = None if decoded is None or method.has_readout else stack.decoder(slot)
                of_factors = judge(trials[index])
                make = stack.maker(slot) if method.makes_points and instance.test.u is None else None
                estimates = own["validation"], own["test"]
                outcome = scored(instance, *estimates, scores, own_strength, of_factors, decode, make)
                if keep:
                    own_instances = [instances[owner] for owner in stack.owners]
                    outcome.kept = _kept(stack, slot, trials[index], own_instances, encoded, keep)
            outcome.facts = facts
            outcomes.append(outcome)
        except BaseException as error:  # this trial cannot be scored; its neighbours can
            outcomes.append(failure(error))
    return outcomes


def _kept(
    stack: Stack,
    slot: int,
    trial: Trial,
    instances: Sequence[Instance],
    encoded: Mapping[str, np.ndarray],
    keep: Collection[str],
) -> dict[str, np.ndarray]:
    """What is kept of the model at a slot. `instances` are those of all models, `encoded` their encodings, as `encodings.encode` gives them."""
    method, instance, device = stack.method, instances[slot], str(stack.device)
    own = {name: array[slot][: len(getattr(instance, name).x)] for name, array in encoded.items()}
    readout = encodings.fit_readout(method, trial.init_seed(), own["train"]) if method.has_readout else None
    try:
        arrays, model = models.arrays_of_torch(
            trial.method, method, stack.model(slot), stack.shape, instance, own["test"], readout, device
        )
        latents = [model.of_standardised(getattr(instance, part), device) for part in PARTS]
    except Exception as error:  # its code cannot be used on one model, or in double precision, as it is in a stack
        reason = str(error) if isinstance(error, models.NotKept) else f"{type(error).__name__}: {error}"
        arrays = models.no_model(reason)
        stacks = [stack.encode([getattr(each, part) for each in instances])[slot] for part in PARTS]
        sizes = [len(getattr(instance, part).x) for part in PARTS]
        latents = [encodings.finished(readout, each[:n], n) for each, n in zip(stacks, sizes, strict=True)]
    found = kept.named(kept.MODELS, arrays) if kept.MODELS in keep else {}
    if kept.LATENTS in keep:
        found |= kept.named(kept.LATENTS, kept.latents_of(instance, latents))
    return found
