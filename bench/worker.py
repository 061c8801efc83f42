"""Runs one pack: generates its data, trains, encodes, scores, writes the rows. Knows nothing of Ray."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import limited, metrics, plugins, selection
from bench.engine import CHUNK, BrokenContract, Job, OutOfTime, Stack
from bench.store import Store
from bench.trials import RACE, Pack, Trial, data_seed, fingerprint, model_shape, survivors
from datasets import Instance, Split, oracle
from methods import Shape, TorchMethod
from registry import UsageError

COMMON = ("pack_id", "pack_size", "train_s", "score_s", "device", "time_limit")  # columns that all rows of a pack share
SHAPE = ("domains", "n_latents", "n_observed")  # columns of every row, fields of the data set or not
KEPT_POINTS = 500  # test points whose latents are kept beside the rows


@dataclass
class Outcome:
    """What became of one trial: its scores (empty unless `ok`), and what `Store.latents` keeps of it.

    The status is ok, diverged, failed, not-applicable, timed-out or crashed, the only one that the same command tries again.
    """

    status: str
    error: str | None
    scores: dict[str, Any]
    latents: dict[str, np.ndarray]


def run_pack(pack: Pack, store: Store, device: str = "cpu", time_limit: float | None = None) -> list[dict[str, Any]]:
    """Runs the trials of `pack` and writes their rows to `store`. An exception becomes rows with a status, not a crash.

    `time_limit` is the seconds of training per trial; a stack of models, which trains as one, has those of all its trials.
    """
    start = time.perf_counter()
    plugins.load(pack.plugins)
    run = _run_torch if isinstance(pack.trials[0].make_method(), TorchMethod) else _run_estimators
    try:
        check_code(pack)
        outcomes, train_s, score_s = run(pack, device, time_limit)
    except Exception as error:
        outcomes, train_s, score_s = [_failure(error)] * len(pack.trials), time.perf_counter() - start, 0.0
    common = {
        "pack_id": pack.pack_id,
        "pack_size": len(pack.trials),
        "train_s": train_s / len(pack.trials),
        "score_s": score_s / len(pack.trials),
        "device": device,
        "time_limit": time_limit,
    }
    rows = [
        row(trial, slot, outcome, common) | _verdicts(trial)
        for slot, (trial, outcome) in enumerate(zip(pack.trials, outcomes, strict=True))
    ]
    latents = {
        f"{trial.trial_id}.{key}": array.astype(np.float32)
        for trial, outcome in zip(pack.trials, outcomes, strict=True)
        for key, array in outcome.latents.items()
    }
    store.write_pack(pack.pack_id, rows, latents)
    return rows


def row(trial: Trial, slot: int, outcome: Outcome, common: dict[str, Any]) -> dict[str, Any]:
    """One flat result row; every field of the data set and the method is a column.

    Raises UsageError where a field, a plugin's say, has the name of another column.
    """
    n_observed, n_latents, n_domains = trial.make_dataset().shape
    columns = (
        dict.fromkeys([*metrics.DEFINITIONS, "recon_nmse", "objective", "consistency", *oracle.DEFINITIONS])
        | outcome.scores
    )
    what = {
        "trial_id": trial.trial_id,
        "method": trial.method,
        "role": trial.make_method().role,
        "promise": trial.make_method().promise,
        "dataset": trial.dataset,
    }
    data = dict(zip(SHAPE, (n_domains, n_latents, n_observed), strict=True))
    data |= {name: value for name, value in trial.dataset_fields.items() if value is not None or name not in SHAPE}
    result = {
        "has_truth": has_truth(trial.make_dataset()),
        "seed": trial.seed,
        "root_seed": trial.root_seed,
        "status": outcome.status,
        "error": outcome.error,
        **columns,
        **dict.fromkeys(COMMON),
        **common,
        "pack_slot": slot,
        "code": trial.code,
        "finished_at": time.time(),
    }
    flat: dict[str, Any] = {}
    for part in (what, data, result, trial.method_fields):
        for name in flat.keys() & part.keys():
            raise UsageError(
                f"{trial.method} on {trial.dataset}: {name!r} names two columns of the results; rename the field"
            )
        flat |= part
    return flat


def check_columns(trials: Sequence[Trial]) -> None:
    """Raises what `row` would raise of any of `trials`, before they train."""
    for trial in {(trial.dataset, trial.method): trial for trial in trials}.values():
        row(trial, 0, Outcome("ok", None, {}, {}), {})


def has_truth(dataset: Any) -> bool:
    """Whether the latents of a data set are known: of all but a user's own file."""
    return getattr(dataset, "has_truth", True)


def crashed(pack: Pack, reason: str, device: str) -> list[dict[str, Any]]:
    """Rows of a pack whose process died before it could write any. The next run tries these trials again."""
    common = {
        "pack_id": pack.pack_id,
        "pack_size": len(pack.trials),
        "train_s": None,
        "score_s": None,
        "device": device,
    }
    return [row(trial, slot, Outcome("crashed", reason, {}, {}), common) for slot, trial in enumerate(pack.trials)]


def check_code(pack: Pack) -> None:
    """Raises SourceChanged if a file changed between planning and now: the result would be filed under the old code."""
    for trial in pack.trials:
        if dataclasses.replace(trial).trial_id != trial.trial_id:
            raise SourceChanged("its source was edited while the run was going; run the same command again")


class SourceChanged(Exception):
    """What would be trained is not what was planned."""


class NotApplicable(Exception):
    """The method has no meaning on these data."""


class Diverged(Exception):
    """What the method gives is not finite."""


def _run_torch(pack: Pack, device: str, time_limit: float | None = None) -> tuple[list[Outcome], float, float]:
    """Outcomes of the pack's trials, seconds of training, seconds of scoring."""
    start = time.perf_counter()
    method = pack.trials[0].make_method()
    outcomes = [Outcome("diverged", "every restart became NaN or infinite", {}, {}) for _ in pack.trials]
    instances: dict[int, Instance] = {}
    jobs: list[Job] = []
    owned: list[int] = []
    for index, trial in enumerate(pack.trials):
        try:
            instance = instances[index] = standardised(trial)
        except Exception as error:  # this trial has no data; its neighbours train
            outcomes[index] = _failure(error)
            continue
        for restart in range(method.restarts):
            jobs.append(Job(instance.train, trial.init_seed(restart), trial.noise_seed(restart)))
            owned.append(index)
    if not jobs:
        return outcomes, time.perf_counter() - start, 0.0
    allowed = math.inf if time_limit is None else time_limit * len(set(owned))
    deadline = time.monotonic() + allowed
    stack = Stack(method, _shape(pack.trials[owned[0]]), jobs, device)
    try:
        validation = {index: instances[index].validation for index in set(owned)}
        train(stack, owned, validation, deadline)
    except OutOfTime as error:
        for index in {owned[job] for job in stack.alive}:
            outcomes[index] = _failure(OutOfTime(f"{error} after the {allowed:g} s of its pack of {len(set(owned))}"))
        return outcomes, time.perf_counter() - start, 0.0
    train_s = time.perf_counter() - start

    start = time.perf_counter()
    agreement = _agreement(stack, pack.trials, owned, instances)
    objective = keep_best(stack, owned, validation)
    owners = [owned[job] for job in stack.alive]
    outcomes = _scored(stack, pack.trials, owners, instances, objective, agreement, outcomes)
    return outcomes, train_s, time.perf_counter() - start


def _scored(
    stack: Stack,
    trials: Sequence[Trial],
    owners: list[int],
    instances: dict[int, Instance],
    objective: np.ndarray,
    agreement: dict[int, float],
    outcomes: list[Outcome],
) -> list[Outcome]:
    """`outcomes` with those of `owners`, the trials whose models the stack holds, replaced."""
    outcomes = list(outcomes)
    if not owners:
        return outcomes
    validation = stack.encode([instances[index].validation for index in owners])
    test = stack.encode([instances[index].test for index in owners])
    decoded = stack.decode(test)
    # A read-out makes other estimates of those that the decoder takes.
    is_wanted = not has_readout(stack.method) and any(sparse_support(instances[index]) is not None for index in owners)
    strength = stack.jacobian_strength(test) if is_wanted else None
    train = stack.encode([instances[index].train for index in owners]) if has_readout(stack.method) else None
    for slot, index in enumerate(owners):
        if not (np.isfinite(validation[slot]).all() and np.isfinite(test[slot]).all()):
            continue
        scores = {"objective": float(objective[slot]), "consistency": agreement.get(index)}
        if decoded is not None:
            scores["recon_nmse"] = _nmse(instances[index].test.x, decoded[slot])
        try:
            own = None if train is None else train[slot][: len(instances[index].train.x)]
            encoded = read_out(stack.method, trials[index].init_seed(), own, validation[slot], test[slot])
            own_strength = None if strength is None else strength[slot]
            outcomes[index] = _outcome(instances[index], *encoded, scores, own_strength)
        except Exception as error:  # this trial cannot be scored; its neighbours can
            outcomes[index] = _failure(error)
    return outcomes


def sparse_support(instance: Instance) -> np.ndarray | None:
    """The support that a decoder can be scored against: known, with latents that are known, and not full."""
    is_scored = instance.support is not None and instance.test.z.shape[1] and not instance.support.all()
    return instance.support if is_scored else None


def has_readout(method: TorchMethod) -> bool:
    return type(method).readout is not TorchMethod.readout


def read_out(
    method: TorchMethod, seed: int, train: np.ndarray | None, validation: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The encodings of validation and test through the method's read-out, fitted on those of `train`; without `train`, as they are."""
    readout = None if train is None else method.readout(seed % 2**32)
    if readout is None:
        return validation, test
    readout.fit(train)
    return readout.transform(validation), readout.transform(test)


def _agreement(
    stack: Stack, trials: Sequence[Trial], owned: list[int], instances: dict[int, Instance]
) -> dict[int, float]:
    """The consistency of each trial of which several restarts were trained to the end.

    One that cannot be read out has none here; `_scored`, which reads it out too, says why.
    """
    owners = [owned[job] for job in stack.alive]
    if survivors(stack.method.restarts) == 1 or not owners:
        return {}
    encoded = stack.encode([instances[index].validation for index in owners])
    train = stack.encode([instances[index].train for index in owners]) if has_readout(stack.method) else None
    found: dict[int, list[np.ndarray]] = {}
    for slot, index in enumerate(owners):
        own = None if train is None else train[slot][: len(instances[index].train.x)]
        points = encoded[slot][: len(instances[index].validation.x)]
        try:
            estimates = read_out(stack.method, trials[index].init_seed(), own, points, points)[0]
            _check_encoding(estimates, len(points))
        except Exception:
            continue
        found.setdefault(index, []).append(estimates)
    return {index: selection.agreement(several) for index, several in found.items() if len(several) > 1}


def train(stack: Stack, owned: list[int], validation: dict[int, Split], deadline: float = math.inf) -> None:
    """Trains a stack, the restarts of each trial racing, and leaves those that were trained to the end.

    `owned` is the trial of each job, `validation` its points. Raises what `Stack.train` raises.
    """
    method = stack.method
    if method.restarts > 1:
        stack.train(race_ends(method.steps), deadline)
        keep_best(stack, owned, validation, survivors(method.restarts))
    stack.train(deadline=deadline)


def race_ends(steps: int) -> int:
    """The step at which the restarts of a trial are compared and most of them stop: after a quarter, in whole chunks."""
    return max(1, steps // RACE // CHUNK) * CHUNK


def keep_best(stack: Stack, owned: list[int], validation: dict[int, Split], n: int = 1) -> np.ndarray:
    """Leaves each trial's `n` models with the best validation objective, in the order of the trials; returns their objectives."""
    if not stack.alive:
        return np.zeros(0)
    owners = np.array([owned[job] for job in stack.alive])
    objective = stack.objective([validation[index] for index in owners])
    # What is not finite comes last: it is chosen only if its trial has nothing else.
    order = np.argsort(np.where(np.isfinite(objective), objective, np.inf), kind="stable")
    best = np.concatenate([order[owners[order] == index][:n] for index in np.unique(owners)])
    stack.keep(best.tolist())
    return objective[best]


def _run_estimators(pack: Pack, device: str, time_limit: float | None = None) -> tuple[list[Outcome], float, float]:
    if time_limit is None:
        results = [estimate(trial) for trial in pack.trials]
    else:
        results = [
            (_failure(result), 0.0, 0.0) if isinstance(result, Exception) else result
            for result in limited.run(pack, time_limit)
        ]
    outcomes, train_s, score_s = zip(*results, strict=True)
    return list(outcomes), sum(train_s), sum(score_s)


def estimate(trial: Trial, time_limit: float | None = None) -> tuple[Outcome, float, float]:
    """Outcome of an estimator's trial, seconds of training, seconds of scoring. A limit is for `bench.limited`: it ends the process."""
    start = time.perf_counter()
    try:
        instance = standardised(trial)
        with limited.clock(time_limit):
            estimator = trial.make_method().build(_shape(trial), trial.init_seed() % 2**32)
            _call(estimator.fit, instance.train)
            validation, test = (_call(estimator.transform, split) for split in (instance.validation, instance.test))
        trained = time.perf_counter()
        outcome = _outcome(instance, np.asarray(validation), np.asarray(test), {})
        return outcome, trained - start, time.perf_counter() - trained
    except Exception as error:
        return _failure(error), time.perf_counter() - start, 0.0


def _call(function: Callable, split: Split) -> Any:
    """`function(x, domains)` on copies that it must leave as they are."""
    x, domains = split.x.copy(), split.domains.copy()
    result = function(x, domains)
    if not (np.array_equal(x, split.x, equal_nan=True) and np.array_equal(domains, split.domains)):
        raise BrokenContract(f"{function.__name__} writes to the data that it is given")
    return result


def _outcome(
    instance: Instance,
    validation: np.ndarray,
    test: np.ndarray,
    scores: dict[str, Any],
    strength: np.ndarray | None = None,
) -> Outcome:
    """`strength` (n_observed, n_estimated) is that of the decoder's edges, if there is a decoder."""
    for encoding, split in ((validation, instance.validation), (test, instance.test)):
        _check_encoding(encoding, len(split.x))
    kept = {"z_hat": test, "z": instance.test.z, "domains": instance.test.domains}
    kept = {key: array[:KEPT_POINTS] for key, array in kept.items()}
    support = sparse_support(instance)
    supports = None
    if strength is not None and support is not None and np.isfinite(strength).all():
        supports = metrics.Supports(support, strength)
        kept |= {"support": support, "strength": strength}
    if instance.test.z.shape[1]:
        scores = scores | metrics.score(
            metrics.Encoded(instance.validation.z, validation, instance.validation.domains),
            metrics.Encoded(instance.test.z, test, instance.test.domains),
            instance.changing,
            supports,
        )
    return Outcome("ok", None, scores, kept)


def _check_encoding(encoding: np.ndarray, n_points: int) -> None:
    """Raises BrokenContract where it is no real matrix with a row per point, and Diverged where it is not finite."""
    if encoding.dtype.kind not in "fiub" or encoding.ndim != 2 or len(encoding) != n_points or not encoding.shape[1]:
        raise BrokenContract(
            f"the encoding of {n_points} points is {encoding.dtype} {encoding.shape}, "
            "and must be real numbers (n_points, n_estimated)"
        )
    if not np.isfinite(encoding).all():
        raise Diverged("the encoding holds NaN or infinite values")


STATUS = {NotApplicable: "not-applicable", Diverged: "diverged", OutOfTime: "timed-out", limited.ProcessDied: "crashed"}


def _failure(error: Exception) -> Outcome:
    """What no repetition would mend has failed; what another moment, or the present code, may mend has crashed."""
    if type(error) in STATUS:
        return Outcome(STATUS[type(error)], str(error), {}, {})
    if isinstance(error, BrokenContract):
        return Outcome("failed", f"BrokenContract: {error}", {}, {})
    passing = isinstance(error, (SourceChanged, MemoryError, torch.OutOfMemoryError)) or "can't allocate" in str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}, line {where.lineno}, {where.name}"
    return Outcome("crashed" if passing else "failed", f"{type(error).__name__}: {error} ({place})", {}, {})


def standardised(trial: Trial) -> Instance:
    """The trial's data. Raises NotApplicable where its method cannot use them."""
    method, dataset = trial.make_method(), trial.make_dataset()
    needed, there = method.min_domains, dataset.shape[2]
    if method.sees_latents and not has_truth(dataset):
        raise NotApplicable(f"{trial.method} needs the true latents, and the data have none")
    if there < needed:
        raise NotApplicable(f"{trial.method} needs at least {needed} domains, and the data have {there}")
    return _generate(dataset, trial.root_seed, trial.seed, fingerprint(trial))


def _verdicts(trial: Trial) -> dict[str, Any]:
    """What the oracle says of the trial's data, whatever became of the method; nothing where there are no data."""
    try:
        return _oracle(trial.make_dataset(), trial.root_seed, trial.seed, fingerprint(trial))
    except Exception:  # without data the trial has failed, and its error says why
        return {}


@functools.lru_cache(maxsize=64)
def _oracle(dataset: Any, root_seed: int, seed: int, content: str | None) -> dict[str, Any]:
    return oracle.columns(_generate(dataset, root_seed, seed, content))


@functools.lru_cache(maxsize=64)
def _generate(dataset: Any, root_seed: int, seed: int, content: str | None) -> Instance:
    """The instance of a seed, each observed variable standardised by its training mean and standard deviation.

    `content` is the fingerprint of a user's file, here so that a file that changed is read again.
    """
    instance = dataset.generate(data_seed(root_seed, seed))
    mean, std = instance.train.x.mean(axis=0), instance.train.x.std(axis=0)
    std = np.where(std > 0, std, 1)  # in a user's own data, what varies in the file may not vary in its training part
    splits = [
        dataclasses.replace(s, x=(s.x - mean) / std) for s in (instance.train, instance.validation, instance.test)
    ]
    return dataclasses.replace(instance, **dict(zip(("train", "validation", "test"), splits, strict=True)))


def _shape(trial: Trial) -> Shape:
    return model_shape(trial.make_dataset().shape)


def _nmse(x: np.ndarray, reconstructed: np.ndarray) -> float:
    """Mean squared error over the variance, both summed over observed variables."""
    return float(((x - reconstructed) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum())
