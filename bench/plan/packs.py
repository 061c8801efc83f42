"""Packs: trials that train together, grouped by method and shape of their models; what they cost, and on what they run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.plan.identity import digest
from bench.plan.trials import Trial, fingerprint, model_shape
from methods import TorchMethod

MODELS_PER_PACK = {
    "cpu": 32,
    "cuda": 512,
}  # on a CPU measured with benchmarks/engine.py; 640 models fit an H200 well
CHUNK = 32  # steps whose batches and noise are drawn together, so that training stops after whole ones; part of the random stream
RACE = 4  # after one part in so many of the steps, one restart in so many goes on

# Measured on one of two busy cores: of `vae` at width 64 and batch 128 in a full pack, and of data and scores.
MODEL_STEPS_PER_SECOND, SECONDS_PER_SCORE = 1200, 0.1
PART_OF_STACK = 0.2  # of a step of a full pack that does not depend on the number of models

Each = TypeVar("Each")


@dataclass(frozen=True)
class Pack:
    """Trials of one method whose models have the same shapes: they train as one stacked model, or one after the other.

    Those that train one after the other need not all be done at once: `finished` has the ids of those that are.
    """

    trials: tuple[Trial, ...]
    plugins: tuple[str, ...] = ()  # files that a process must load before it runs them
    finished: frozenset[str] = frozenset()

    @functools.cached_property
    def pack_id(self) -> str:
        return digest([trial.trial_id for trial in self.trials])

    @property
    def method(self) -> str:
        return self.trials[0].method

    @property
    def slots(self) -> list[int]:
        """The places of the trials that are to be run."""
        return [slot for slot, trial in enumerate(self.trials) if trial.trial_id not in self.finished]

    @functools.cached_property
    def is_stacked(self) -> bool:
        """Whether its models are trained by the engine, which can use a GPU; an estimator runs on one core."""
        return isinstance(self.trials[0].make_method(), TorchMethod)

    @functools.cached_property
    def expected_s(self) -> float:
        """A rough guess of its seconds on one core, for estimates of the time left."""
        method, n = self.trials[0].make_method(), len(self.slots)
        training = stack_s(n * model_steps(method), method.steps, step_s(method)) if self.is_stacked and n else 0.0
        return training + SECONDS_PER_SCORE * n


def stack_s(model_steps: float, steps: int, step_s: float) -> float:
    """A rough guess of the seconds that a stack trains for, whose models take so many steps in sum; a step takes time even of one model."""
    return step_s * ((1 - PART_OF_STACK) * model_steps + PART_OF_STACK * MODELS_PER_PACK["cpu"] * steps)


def step_s(method: TorchMethod) -> float:
    """A rough guess of the seconds that a model-step of `method` takes on one core."""
    return method.cost * method.width * method.batch_size / (64 * 128) / MODEL_STEPS_PER_SECOND


def model_steps(method: TorchMethod) -> float:
    """Steps of all models of a trial: each restart a part of the steps, then the survivors the rest."""
    if method.restarts == 1:
        return method.steps
    return method.steps * (method.restarts + (RACE - 1) * survivors(method.restarts)) / RACE


def survivors(restarts: int) -> int:
    """How many restarts of a trial go on after the race: two at least, so that they can agree or not."""
    return max(min(restarts, 2), restarts // RACE)


def make_packs(
    trials: Iterable[Trial], device: str, plugins: Sequence[str] = (), finished: Collection[str] = ()
) -> list[Pack]:
    """Trials grouped by method and shape, at most `MODELS_PER_PACK` models each; the costliest pack first.

    Left out are the trials whose ids are in `finished`. Where a run goes on, its packs are those that it had: finished packs were whole, and
    a pack of estimators keeps its finished trials.
    """
    packs = []
    for group in grouped(trials, lambda trial: trial):
        is_stacked = Pack((group[0],)).is_stacked
        if is_stacked:
            group = [trial for trial in group if trial.trial_id not in finished]
        on = device if is_stacked else "cpu"
        size = max(1, MODELS_PER_PACK[on] // group[0].method_fields.get("restarts", 1)) if group else 1
        for at in range(0, len(group), size):
            own = tuple(group[at : at + size])
            pack = Pack(own, tuple(plugins), frozenset(trial.trial_id for trial in own if trial.trial_id in finished))
            packs += [pack] * bool(pack.slots)
    return sorted(packs, key=lambda pack: -pack.expected_s)


def grouped(members: Iterable[Each], trial_of: Callable[[Each], Trial]) -> list[list[Each]]:
    """`members` in groups whose models can be stacked: one method with one setting, one kind of data, one shape."""
    groups: dict[str, list[Each]] = {}
    for member in members:
        trial = trial_of(member)
        shape = model_shape(trial.make_dataset())
        key = digest([trial.method, trial.method_fields, trial.dataset, shape, fingerprint(trial)])
        groups.setdefault(key, []).append(member)
    return list(groups.values())


def expected_time(seconds: Sequence[float], workers: int) -> float:
    """Seconds until work that takes so many `seconds` each on one core is done: its sum shared out, and no less than the longest."""
    return max(sum(seconds) / workers, max(seconds, default=0.0))


def duration(seconds: float) -> str:
    """`1 h 05 min`, `3 min 20 s` or `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
