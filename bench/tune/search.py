"""What a hyper-parameter search tries: the same number of model-steps for every method, on data that no leaderboard uses.

A configuration trains on every cell and data seed of the search, `REPLICATES` models on each that differ in their own seeds alone.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.plan.identity import digest, tuning_quantile, tuning_root
from bench.plan.packs import CHUNK, RACE
from bench.plan.trials import Trial, data_facts, fingerprint
from bench.registry import UsageError, nearest
from methods import TorchMethod, methods

CELLS = {"sparse-mixing": {"domains": [2, 9]}}  # axes of a search that does not name them
REPLICATES = 2  # models per data set: the fewest that can agree
REDUCTION = RACE  # of the configurations at a rung, about one in so many goes on; each rung has so many times the steps
RUNGS = 2  # as restarts race: an earlier look sees the warm-up
DEFAULTS = 0  # the number of the configuration that has the default of every field
MEASURED = ("consistency", "fit", "sparsity", "mcc_spearman")  # of a configuration: bench.tune.rules.DEFINITIONS


@dataclass(frozen=True)
class Search:
    """The search for one method. `settings` are the fields that are fixed; the rest of its search spaces is open."""

    method: str
    settings: dict[str, Any]
    dataset: str
    cells: list[dict[str, Any]]
    n_seeds: int
    root_seed: int
    rungs: tuple[int, ...]

    def fields(self, number: int) -> dict[str, Any]:
        """Configuration `number`: 0 is the defaults, the others are drawn.

        A draw depends on the root seed, the number and the name of the field, so that methods share the values of shared fields.
        """
        entry = methods[self.method]
        drawn = {
            name: space.quantile(tuning_quantile(self.root_seed, number, name))
            for name, space in entry.spaces.items()
            if number != DEFAULTS and name not in self.settings
        }
        return {name: entry.check(name, value) for name, value in (entry.defaults | drawn | self.settings).items()}

    def trials(self, fields: dict[str, Any]) -> list[Trial]:
        """One for each data set that a configuration trains on."""
        root = tuning_root(self.root_seed)
        seeds = range(self.n_seeds)
        return [Trial(self.dataset, cell, self.method, fields, seed, root) for cell in self.cells for seed in seeds]

    @functools.cached_property
    def question(self) -> str:
        """Hash of all that determines the results of a search, but its budget."""
        first = self.trials(self.fields(0))[0]
        return digest([dataclasses.asdict(self), REPLICATES, REDUCTION, first.code, fingerprint(first)])

    def trial_id(self, number: int) -> str:
        return digest([self.question, number, self.fields(number)])

    @property
    def n_models(self) -> int:
        return len(self.cells) * self.n_seeds * REPLICATES

    def cost(self, stage: int) -> int:
        """Model-steps from the rung before to rung `stage`: a multiple of those to the first."""
        return self.n_models * (self.rungs[stage] - (self.rungs[stage - 1] if stage else 0))

    @property
    def full_cost(self) -> int:
        """Model-steps of a configuration that is trained to the end."""
        return self.n_models * self.rungs[-1]


def plan_rungs(steps: int, n_rungs: int = RUNGS) -> tuple[int, ...]:
    """The steps at which configurations are compared, the last the length of training: at most `steps`, all whole chunks."""
    if steps < CHUNK:
        raise UsageError(f"a search compares models after multiples of {CHUNK} steps, and these train for {steps}")
    n_rungs = min(n_rungs, 1 + int(math.log(steps // CHUNK) / math.log(REDUCTION) + 1e-9))
    first = steps // (CHUNK * REDUCTION ** (n_rungs - 1)) * CHUNK
    return tuple(first * REDUCTION**k for k in range(n_rungs))


def plan_searches(
    names: Sequence[str],
    settings: dict[str, dict[str, Any]],
    dataset: str,
    cells: list[dict[str, Any]],
    n_seeds: int,
    root_seed: int,
    n_rungs: int = RUNGS,
    budget: int | None = None,
) -> list[Search]:
    """One for each method. Raises UsageError for one that cannot be searched, or not with this budget."""
    searches = []
    for name in names:
        entry, fixed = methods[name], settings.get(name, {})
        if name not in tunable():
            raise UsageError(f"{name} has nothing to tune; {nearest(name, tunable())}")
        if not entry.spaces.keys() - fixed.keys():
            raise UsageError(f"{name} has nothing left to tune: {', '.join(entry.spaces)} are all fixed by --set")
        if fixed.get("restarts", 1) != 1:
            raise UsageError(f"{name}.restarts={fixed['restarts']}: a search compares single starts; leave it out")
        rungs = plan_rungs(fixed["steps"], n_rungs)
        search = Search(name, fixed | {"steps": rungs[-1], "restarts": 1}, dataset, cells, n_seeds, root_seed, rungs)
        for trial in search.trials(search.fields(0)):
            reason = trial.make_method().skip(data_facts(trial.make_dataset()))
            if reason is not None:
                raise UsageError(f"{name} {reason}; leave the method or the cell out")
        if budget is not None and budget < search.full_cost:
            raise UsageError(
                f"--budget {budget} is too small: one configuration of {name} takes {search.full_cost} model-steps "
                f"({search.n_models} models of {search.rungs[-1]} steps)"
            )
        searches.append(search)
    return searches


def tunable() -> list[str]:
    """Methods that the engine trains and that declare a search space; no floors, no ceiling."""
    return [e.name for e in methods if issubclass(e.cls, TorchMethod) and e.cls.role == "method" and e.spaces]
