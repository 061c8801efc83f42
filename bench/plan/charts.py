"""Which chart a trial starts from: one per data set, shared by all methods of one backbone and budget, from seeds of its own."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.plan.identity import CHART, ENGINE_VERSION, digest, source_hash, stream_seed
from bench.plan.packs import CHUNK, MODEL_STEPS_PER_SECOND, stack_s
from bench.plan.trials import Trial, fingerprint, image_of, model_shape
from datasets import datasets
from methods import AutoencoderMethod

PART = 0.75  # of the steps of the method that asks for it
N_STARTS = 6
RACE = ((0.3, 2),)  # after this part of the steps, so many starts go on
CHARTS_PER_PACK = 8  # enough that a race of few models is not slow
MOST_SECONDS = 60  # a rough guess of what a pack of several charts takes: what a kill costs
SECONDS_APART = (
    2.0  # of one core: the projections that a chart starts from, and the maps that suit what a method assumes
)


@dataclass(frozen=True)
class ChartSpec:
    """What determines a chart. `sees_latents` is the oracle: a chart whose code is the true latents."""

    dataset: str
    dataset_fields: dict[str, Any]
    seed: int
    root_seed: int
    steps: int
    batch_size: int
    width: int
    depth: int
    sees_latents: bool
    content: str | None  # the fingerprint of a user's file

    @functools.cached_property
    def chart_id(self) -> str:
        """Hash of all that determines it."""
        return digest([dataclasses.asdict(self), ENGINE_VERSION, source_hash(datasets[self.dataset].cls)])

    @property
    def settings(self) -> dict[str, int]:
        """The fields of an autoencoder that it sets, as `budget` gives them."""
        return {"steps": self.steps, "batch_size": self.batch_size, "width": self.width, "depth": self.depth}

    def make_dataset(self) -> Any:
        return datasets[self.dataset].make(self.dataset_fields)

    def seeds(self, start: int) -> tuple[int, int]:
        """Of the weights and of the batches of one start."""
        init_seed, noise_seed = (stream_seed(self.root_seed, CHART, self.seed, start, which) for which in range(2))
        return init_seed, noise_seed


@dataclass(frozen=True)
class ChartPack:
    """Charts that train as one stack: those of data sets of one shape, with one budget."""

    specs: tuple[ChartSpec, ...]
    plugins: tuple[str, ...] = ()  # files that a process must load before it trains them

    @functools.cached_property
    def pack_id(self) -> str:
        return digest([spec.chart_id for spec in self.specs])

    @property
    def expected_s(self) -> float:
        """A rough guess of its seconds on one core."""
        spec, n = self.specs[0], len(self.specs)
        starts = 1.0 if spec.sees_latents else model_starts()
        step_s = spec.width * spec.batch_size / (64 * 128) / MODEL_STEPS_PER_SECOND
        return stack_s(n * starts * spec.steps, spec.steps, step_s) + n * SECONDS_APART


def model_starts() -> float:
    """The starts of a chart, each counted by the part of the steps that it is trained for."""
    ends, left = [0.0, *(end for end, _ in RACE), 1.0], [N_STARTS, *(n for _, n in RACE)]
    return sum(n * (end - begin) for n, begin, end in zip(left, ends, ends[1:], strict=False))


def chart_of(trial: Trial) -> ChartSpec | None:
    """The chart that a trial's models start from; None for a method that starts from none, and on images."""
    method = trial.make_method()
    if not isinstance(method, AutoencoderMethod) or method.start == "random":
        return None
    if starts_linear(trial):
        return None
    return ChartSpec(
        trial.dataset,
        trial.dataset_fields,
        trial.seed,
        trial.root_seed,
        **budget(method),
        sees_latents=method.start == "truth",
        content=fingerprint(trial),
    )


def starts_linear(trial: Trial) -> bool:
    """Whether the chart that a trial's models start from is the linear one, which is not trained: on images."""
    method = trial.make_method()
    if not isinstance(method, AutoencoderMethod) or method.start != "chart":
        return False
    return image_of(trial.make_dataset()) is not None


def budget(method: AutoencoderMethod) -> dict[str, int]:
    """The settings of the chart of a method: its backbone, and a part of its steps."""
    steps = max(CHUNK, int(PART * method.steps) // CHUNK * CHUNK)
    return {"steps": steps, "batch_size": method.batch_size, "width": method.width, "depth": method.depth}


def charts_of(trials: Iterable[Trial]) -> list[ChartSpec]:
    """The charts that `trials` start from, each once."""
    found = (chart_of(trial) for trial in trials)
    return list({spec.chart_id: spec for spec in found if spec is not None}.values())


def pack_charts(specs: Iterable[ChartSpec], plugins: Sequence[str] = ()) -> list[ChartPack]:
    """Charts in packs of at most `CHARTS_PER_PACK`; those of one pack have the same settings and shape.

    Rounding depends on the pack: where a run goes on, `specs` are all its charts, and the packs that lack some are trained again whole.
    """
    groups: dict[str, list[ChartSpec]] = {}
    for spec in specs:
        shape = model_shape(spec.make_dataset())
        key = [spec.dataset, shape, spec.steps, spec.batch_size, spec.width, spec.depth, spec.sees_latents]
        groups.setdefault(digest(key), []).append(spec)
    packs = []
    for group in groups.values():
        size = max(1, min(CHARTS_PER_PACK, int(MOST_SECONDS / ChartPack((group[0],)).expected_s)))
        packs += [ChartPack(tuple(group[at : at + size]), tuple(plugins)) for at in range(0, len(group), size)]
    return packs
