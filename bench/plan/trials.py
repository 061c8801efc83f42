"""Trials and the grids that they come from. A trial is (dataset spec, method spec, seed): one row of the results."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.plan.identity import ENGINE_VERSION, INIT, NOISE, digest, source_hash, stream_seed
from bench.registry import UsageError
from datasets import datasets
from methods import DataFacts, Shape, methods

DOMAIN_STEP = 10  # models have room for a multiple of so many domains: part of what a trial's initialisation depends on
MAX_TRIALS = 1_000_000
SHAPE = ("n_observed", "n_latents", "domains")  # columns of every row, fields of the data set or not


@dataclass(frozen=True)
class Trial:
    """One data set, one method, one seed: one row of the results."""

    dataset: str
    dataset_fields: dict[str, Any]
    method: str
    method_fields: dict[str, Any]
    seed: int
    root_seed: int

    @functools.cached_property
    def trial_id(self) -> str:
        """Hash of all that determines the result."""
        return self.identity(self.code)

    def identity(self, code: str) -> str:
        """The `trial_id` that the trial has with the code of this hash, which need not be what is here, nor registered here."""
        content = fingerprint(self) if self.dataset in datasets.names() else None
        return digest([dataclasses.asdict(self), code, content])

    @property
    def code(self) -> str:
        """Hash of the source of the method and the data set, and of the engine's version."""
        return digest([ENGINE_VERSION, source_hash(datasets[self.dataset].cls), source_hash(methods[self.method].cls)])

    def make_dataset(self) -> Any:
        return datasets[self.dataset].make(self.dataset_fields)

    def make_method(self) -> Any:
        return methods[self.method].make(self.method_fields)

    def init_seed(self, restart: int = 0) -> int:
        return stream_seed(self.root_seed, INIT, self.seed, restart)

    def noise_seed(self, restart: int = 0) -> int:
        return stream_seed(self.root_seed, NOISE, self.seed, restart)


def data_facts(dataset: Any) -> DataFacts:
    """What a data set says of itself before it is generated. The latents of all but a user's own file are known."""
    n_observed, n_latents, n_domains = dataset.shape
    has_truth, n_known = getattr(dataset, "has_truth", True), getattr(dataset, "n_known", n_latents)
    n_fewer = n_known if has_truth and n_known < n_latents else None
    return DataFacts(
        n_observed, n_latents, n_domains, has_truth, n_fewer, getattr(dataset, "n_u", 0), image_of(dataset)
    )


def model_shape(dataset: Any, sees_latents: bool = False) -> Shape:
    """What the models of a data set are built for. One that is trained on the true latents has as many as are known."""
    n_observed, n_latents, n_domains = dataset.shape
    if sees_latents:
        n_latents = data_facts(dataset).n_known or n_latents
    n_columns = math.ceil(n_domains / DOMAIN_STEP) * DOMAIN_STEP
    return Shape(n_observed, n_latents, n_columns, getattr(dataset, "n_u", 0), image_of(dataset))


def image_of(dataset: Any) -> tuple[int, int, int] | None:
    """(channels, height, width) of a data set's points, which are flat; None where they are no images."""
    return getattr(dataset, "image", None)


def fingerprint(trial: Trial) -> str | None:
    """What determines a trial's data beside the data set's fields and code: the content of a user's file."""
    return trial.make_dataset().fingerprint if hasattr(datasets[trial.dataset].cls, "fingerprint") else None


def plan(
    dataset: str, axes: dict[str, dict], settings: dict[str, dict], names: Sequence[str], n_seeds: int, root_seed: int
) -> tuple[list[Trial], list[dict[str, Any]]]:
    """Every trial of a grid, and what `plan_cells` adds to it; cells that no data set has raise UsageError.

    `axes` and `settings` are by owner, as `bench.plan.grid` gives them.
    """
    cells, added = plan_cells(dataset, axes, settings)
    for cell in cells:
        check_replicates(datasets[dataset].make(cell), n_seeds)
    n_trials = len(cells) * n_seeds * sum(math.prod(map(len, axes.get(name, {}).values())) for name in names)
    check_size(n_trials, "trials")
    variants = {name: _product(methods[name].defaults | settings.get(name, {}), axes.get(name, {})) for name in names}
    for name, choices in variants.items():
        for fields in choices:
            methods[name].make(fields)
    trials = []
    for cell in cells:
        trials += [
            Trial(dataset, cell, name, fields, seed, root_seed)
            for name in names
            for fields in variants[name]
            for seed in range(n_seeds)
        ]
    return trials, added


def plan_cells(
    dataset: str, axes: dict[str, dict], settings: dict[str, dict]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The fields of the data set in every cell of a grid, and what the data set adds. Raises UsageError for a cell that it lacks.

    A data set with a `default_grid` says what the fields of a cell become where nobody names the dials that it sets: a list of
    settings, which need not be a product of axes. A setting of a field that `axes` or `settings` names is left out.
    """
    asked = axes.get(dataset, {})
    check_size(math.prod(map(len, asked.values())), "cells")
    named = {**settings.get(dataset, {}), **asked}
    cls: Any = datasets[dataset].cls
    cells: list[dict[str, Any]] = []
    added: list[dict[str, Any]] = []
    for fields in _product(datasets[dataset].defaults | settings.get(dataset, {}), asked):
        default_grid = cls.default_grid(fields) if hasattr(cls, "default_grid") else []
        usual = [setting for setting in default_grid if not setting.keys() & named]
        cells += [fields | setting for setting in usual or [{}]]
        added += [setting for setting in usual if setting not in added]
    for cell in cells:
        datasets[dataset].make(cell)
    return cells, added


def check_size(n: int, what: str) -> None:
    """Raises UsageError for a grid that nobody could wait for, before it is made."""
    if n > MAX_TRIALS:
        raise UsageError(f"this grid has {n} {what}, and may have at most {MAX_TRIALS}")


def check_replicates(dataset: Any, n_seeds: int) -> None:
    """Raises UsageError where data seeds pick one of several data sets, and there are more seeds: no two may count the same one."""
    n = getattr(dataset, "replicates", 1)
    if 1 < n < n_seeds:
        raise UsageError(f"there are {n} independent data sets, one for each data seed: say --seeds {n}, or fewer")


def _product(base: dict[str, Any], axes: dict[str, list]) -> list[dict[str, Any]]:
    return [base | dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
