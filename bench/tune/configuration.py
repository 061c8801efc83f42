"""Trains one configuration of a search, and measures at every rung what it has come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench.plan.charts import chart_of
from bench.plan.packs import grouped
from bench.plan.trials import Trial, data_facts, model_shape
from bench.scores.metrics import Encoded, matched_spearman
from bench.scores.training import agreement
from bench.statuses import FAILED, OK
from bench.train import chart, encodings
from bench.train.data import standardised
from bench.train.engine import Stack
from bench.train.errors import Diverged
from bench.train.stacked import jobs_of
from bench.tune.search import MEASURED, REPLICATES, Search
from datasets import Instance
from methods import methods


def train(search: Search, fields: dict[str, Any], device: str) -> Iterator[dict[str, Any]]:
    """Trains a configuration; at every rung, what it has come to: `reached`, and the measurements of `bench.tune.rules.DEFINITIONS`."""
    stacks = []
    for group in grouped(enumerate(search.trials(fields)), lambda member: member[1]):
        trials = dict(group)
        jobs = []
        for owner, trial in group:
            spec = chart_of(trial)
            own = None if spec is None else chart.obtain(spec, device, {})
            jobs += jobs_of(trial, standardised(trial), REPLICATES, owner, own)
        first = group[0][1]
        method = first.make_method()
        shape = model_shape(first.make_dataset(), method.sees_latents)
        stacks.append((Stack(method, shape, jobs, device), trials))
    for rung in search.rungs:
        measured = []
        for stack, trials in stacks:
            stack.train(until=rung)
            measured += _measure(stack, trials)
        yield {"reached": rung, **_summary(measured)}


def _measure(stack: Stack, trials: Mapping[int, Trial]) -> list[dict[str, Any]]:
    """One dictionary per data set of a stack. Values that belong to single models are lists over its models."""
    found: dict[int, list[dict[str, Any]]] = {owner: [] for owner in trials}
    if stack.alive:
        instances = [standardised(trials[owner]) for owner in stack.owners]
        entry = methods[next(iter(trials.values())).method]
        plain = entry.make(next(iter(trials.values())).method_fields | entry.neutral)
        encoded = encodings.encode(stack, instances, ["validation", "test"])
        fit = stack.objective([instance.validation for instance in instances], plain)
        strength = stack.jacobian_strength(encoded["validation"])
        for slot, owner in enumerate(stack.owners):
            seed = trials[owner].init_seed(stack.alive[slot] % REPLICATES)  # the models of a data set follow each other
            try:
                own = encodings.estimates(stack.method, encoded, slot, instances[slot], seed)
            except Diverged:
                continue
            if np.isfinite(fit[slot]):
                found[owner].append(
                    {
                        "encoded": own["validation"],
                        "fit": fit[slot],
                        "sparsity": np.nan if strength is None else strength[slot].sum(),
                        "mcc_spearman": _recovery(instances[slot], own["validation"], own["test"]),
                    }
                )
    return [_of_data_set(kept, data_facts(trials[owner].make_dataset()).has_truth) for owner, kept in found.items()]


def _of_data_set(kept: Sequence[dict[str, Any]], has_truth: bool) -> dict[str, Any]:
    """The measurements of one data set from those of the models that are left: a lost one recovers nothing and agrees with nothing."""
    n_lost = REPLICATES - len(kept)
    lost = {"fit": np.nan, "sparsity": np.nan, "mcc_spearman": 0.0 if has_truth else np.nan}
    values = {name: [model[name] for model in kept] + [value] * n_lost for name, value in lost.items()}
    consistency = 0.0 if n_lost else agreement([model["encoded"] for model in kept])
    return {"consistency": consistency, **values, "n_lost": n_lost}


def _recovery(instance: Instance, validation: np.ndarray, test: np.ndarray) -> float:
    """mcc_spearman of the encodings of validation and test; NaN where the truth is not known."""
    if not instance.test.z.shape[1]:
        return np.nan
    splits = (instance.validation, validation), (instance.test, test)
    return matched_spearman(*(Encoded(split.z, encoded, split.domains) for split, encoded in splits))


def _summary(data_sets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    means = {name: float(np.mean([data_set[name] for data_set in data_sets])) for name in MEASURED}
    return means | {"n_lost": sum(data_set["n_lost"] for data_set in data_sets)}


def reports(search: Search, number: int, device: str) -> Iterator[dict[str, Any]]:
    """What a worker tells of a configuration at each rung: the history so far, the last of it, and whether it failed."""
    history: list[dict[str, Any]] = []
    try:
        for result in train(search, search.fields(number), device):
            history.append(result)
            yield {**result, "stage": len(history) - 1, "history": list(history), "status": OK, "error": None}
    except Exception as error:  # a configuration that fails is a row
        yield {
            "stage": len(history),
            "history": history,
            "status": FAILED,
            "error": f"{type(error).__name__}: {error}",
            **{"reached": search.rungs[len(history)], "consistency": 0.0},
        }
