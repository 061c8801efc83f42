"""Trials, their identity and seeds, and the packs that train together.

A trial is (dataset spec, method spec, seed). Its id is a hash of all that determines its result, the source code included.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import itertools
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datasets import datasets
from methods import Shape, TorchMethod, methods
from registry import UsageError

ENGINE_VERSION = 3  # raise it when a change to training or scoring moves numbers: finished trials then run again
MODELS_PER_PACK = {"cpu": 32, "cuda": 256}  # measured with benchmarks/pack_size.py
DOMAIN_STEP = 10  # models have room for a multiple of so many domains: part of what a trial's initialisation depends on
MAX_TRIALS = 1_000_000
RACE = 4  # after one part in so many of the steps, one restart in so many goes on

# Measured on one of two busy cores: of `vae` at width 64 and batch 128 in a full pack, and of data and scores.
MODEL_STEPS_PER_SECOND, SECONDS_PER_SCORE = 1200, 0.1

# Independent random streams below a root seed.
DATA, INIT, NOISE, TUNING = range(4)
ROOT_SEEDS = 2**63  # root seeds of runs are below: those above belong to hyper-parameter searches


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
        return digest([dataclasses.asdict(self), self.code, fingerprint(self)])

    @property
    def code(self) -> str:
        """Hash of the source of the method and the data set, and of the engine's version."""
        return digest([ENGINE_VERSION, source_hash(datasets[self.dataset].cls), source_hash(methods[self.method].cls)])

    def make_dataset(self) -> Any:
        return datasets[self.dataset].make(self.dataset_fields)

    def make_method(self) -> Any:
        return methods[self.method].make(self.method_fields)

    def init_seed(self, restart: int = 0) -> int:
        return _seed(self.root_seed, INIT, self.seed, restart)

    def noise_seed(self, restart: int = 0) -> int:
        return _seed(self.root_seed, NOISE, self.seed, restart)


def fingerprint(trial: Trial) -> str | None:
    """What determines a trial's data beside the data set's fields and code: the content of a user's file."""
    return trial.make_dataset().fingerprint if hasattr(datasets[trial.dataset].cls, "fingerprint") else None


def data_seed(root_seed: int, seed: int) -> np.random.SeedSequence:
    """The same for every method and cell, so that comparisons are paired."""
    return np.random.SeedSequence(root_seed, spawn_key=(DATA, seed))


def tuning_root(root_seed: int) -> int:
    """The root seed of all data, initialisations and noise of a hyper-parameter search: one that no run takes."""
    return ROOT_SEEDS + _seed(root_seed, TUNING)


def tuning_quantile(root_seed: int, number: int, name: str) -> float:
    """Where in the search space of field `name` configuration `number` lies: uniform in [0, 1)."""
    key = (TUNING, number, int(digest(name), 16))
    return np.random.default_rng(np.random.SeedSequence(root_seed, spawn_key=key)).random()


class Work(Protocol):
    """What takes time: a pack, or another part of a run."""

    @property
    def expected_s(self) -> float:
        """A rough guess of its seconds on one core."""
        ...


@dataclass(frozen=True)
class Pack:
    """Trials of one method whose models have the same shapes: they train as one stacked model, or one after the other."""

    trials: tuple[Trial, ...]
    plugins: tuple[str, ...] = ()  # files that a process must load before it runs them

    @functools.cached_property
    def pack_id(self) -> str:
        return digest([trial.trial_id for trial in self.trials])

    @property
    def method(self) -> str:
        return self.trials[0].method

    @functools.cached_property
    def expected_s(self) -> float:
        """A rough guess of its seconds on one core, for estimates of the time left."""
        method = self.trials[0].make_method()
        if not isinstance(method, TorchMethod):
            return SECONDS_PER_SCORE * len(self.trials)
        size = method.width * method.batch_size / (64 * 128)
        started = 1 if method.restarts == 1 else (method.restarts + (RACE - 1) * survivors(method.restarts)) / RACE
        steps = method.cost * method.steps * started * size / MODEL_STEPS_PER_SECOND
        return (steps + SECONDS_PER_SCORE) * len(self.trials)


def plan(
    dataset: str, axes: dict[str, dict], settings: dict[str, dict], names: Sequence[str], n_seeds: int, root_seed: int
) -> list[Trial]:
    """Every trial of a grid. `axes` and `settings` are by owner, as `bench.grid` gives them; cells that no data set has raise."""
    cells = plan_cells(dataset, axes, settings)
    n_trials = len(cells) * n_seeds * sum(math.prod(map(len, axes.get(name, {}).values())) for name in names)
    if n_trials > MAX_TRIALS:
        raise UsageError(f"this grid has {n_trials} trials; a run has at most {MAX_TRIALS}")
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
    return trials


def plan_cells(dataset: str, axes: dict[str, dict], settings: dict[str, dict]) -> list[dict[str, Any]]:
    """The fields of the data set in every cell of a grid. Raises UsageError for a cell that it does not have.

    A data set with a `default_grid` adds those of its axes that neither `axes` nor `settings` names.
    """
    cells = []
    for fields in _product(datasets[dataset].defaults | settings.get(dataset, {}), axes.get(dataset, {})):
        named = {**settings.get(dataset, {}), **axes.get(dataset, {})}
        cls: Any = datasets[dataset].cls
        default_grid = cls.default_grid(fields) if hasattr(cls, "default_grid") else {}
        cells += _product(fields, {key: values for key, values in default_grid.items() if key not in named})
    for cell in cells:
        datasets[dataset].make(cell)
    return cells


def model_shape(shape: tuple[int, int, int]) -> Shape:
    """What the models of a data set of this (n_observed, n_latents, number of domains) are built for."""
    n_observed, n_latents, n_domains = shape
    return Shape(n_observed, n_latents, math.ceil(n_domains / DOMAIN_STEP) * DOMAIN_STEP)


def make_packs(trials: Iterable[Trial], device: str, plugins: Sequence[str] = ()) -> list[Pack]:
    """Trials grouped by method and shape, at most `MODELS_PER_PACK` models each; the costliest pack first."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        shape = model_shape(trial.make_dataset().shape)
        key = digest([trial.method, trial.method_fields, trial.dataset, shape, fingerprint(trial)])
        groups.setdefault(key, []).append(trial)
    packs = []
    for group in groups.values():
        restarts = group[0].method_fields.get("restarts", 1)
        size = max(1, MODELS_PER_PACK[device] // restarts)
        packs += [Pack(tuple(group[at : at + size]), tuple(plugins)) for at in range(0, len(group), size)]
    return sorted(packs, key=lambda pack: -pack.expected_s)


def survivors(restarts: int) -> int:
    """How many restarts of a trial go on after the race."""
    return max(1, restarts // RACE)


def expected_time(packs: Sequence[Work], workers: int) -> float:
    """Seconds until `packs` are done on so many workers: their sum shared out, and no less than the longest."""
    seconds = [pack.expected_s for pack in packs]
    return max(sum(seconds) / workers, max(seconds, default=0.0))


def duration(seconds: float) -> str:
    """`1 h 05 min`, `3 min 20 s` or `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def digest(value: Any) -> str:
    """Hash of anything that JSON can hold, 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def source_hash(cls: type) -> str:
    """Hash of the files that define `cls` and its bases, and of the modules of their packages that these import."""
    todo = {base.__module__ for base in cls.__mro__} - {"builtins", "typing"}
    packages = {name.split(".")[0] for name in todo}
    sources: dict[str, str] = {}
    while todo:
        name = todo.pop()
        file = _source_file(name)
        sources[name] = file.read_text()
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        named = {found for found in _names(sources[name], package) if found.split(".")[0] in packages}
        # Importing a module runs the packages that hold it.
        named |= {found.rsplit(".", up)[0] for found in named for up in range(1, found.count(".") + 1)}
        todo |= {found for found in named if found not in sources and _source_file(found).is_file()}
    return digest(sorted(sources.items()))


def _names(source: str, package: str) -> set[str]:
    """What a source in `package` may import: names in import statements, and texts, since `lazy_module` takes one."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            parents = [package.rsplit(".", node.level - 1)[0]] if node.level else []
            module = ".".join([*parents, *filter(None, [node.module])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names


def _source_file(module: str) -> Path:
    # From the name alone: a lazy module may not have been imported yet.
    top, *rest = module.split(".")
    file = Path(str(sys.modules[top].__file__))
    if not rest:
        return file
    path = file.parent.joinpath(*rest)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _product(base: dict[str, Any], axes: dict[str, list]) -> list[dict[str, Any]]:
    return [base | dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _seed(root_seed: int, *key: int) -> int:
    return int(np.random.SeedSequence(root_seed, spawn_key=key).generate_state(1, np.uint64)[0] >> 1)
