"""How fast this machine trains, measured: what estimates of time are multiplied by."""

from __future__ import annotations

import functools
import multiprocessing
import statistics
import sys
import time
from typing import Any

from bench.machine import cores
from bench.plan.packs import CHUNK, MODEL_STEPS_PER_SECOND, MODELS_PER_PACK
from bench.plan.trials import Trial, model_shape

REFERENCE = "vae"  # the method that the constants of the plan are relative to
N_CHUNKS = 3
N_IMAGE_MODELS = 2  # of a stack to measure with, in which nothing is gained by more
SHORT = 60  # expected seconds on one core: less is not worth measuring


def pace(expected_s: float, workers: int, trial: Trial) -> float:
    """The seconds that an expected second takes here, while `workers` processes train at a time; 1 for what is short anyway.

    What is expected holds for data of few variables. Images take far longer, by their size: the pace on them is that on the data of `trial`.
    """
    if model_shape(trial.make_dataset()).image is not None:
        return _measured(workers, trial.dataset, tuple(trial.dataset_fields.items()))
    return _measured(workers, "sparse-mixing", ()) if expected_s > SHORT else 1.0


@functools.cache
def _measured(workers: int, dataset: str, fields: tuple[tuple[str, Any], ...]) -> float:
    workers = max(1, min(workers, cores()))
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(workers) as pool:
        measure = functools.partial(_pace, name=dataset, fields=dict(fields))
        return statistics.mean(pool.map(measure, range(workers), chunksize=1))


def _pace(seed: int, name: str, fields: dict[str, Any]) -> float:
    import numpy as np

    from bench.train import engine
    from datasets import datasets
    from methods import methods

    engine.use_one_thread()
    dataset = datasets[name].make(fields)
    points = dataset.generate(np.random.SeedSequence(seed)).train
    size = MODELS_PER_PACK["cpu"] if model_shape(dataset).image is None else N_IMAGE_MODELS
    method = methods[REFERENCE].make({"steps": (N_CHUNKS + 1) * CHUNK, "start": "random"})
    stack = engine.Stack(method, model_shape(dataset), [engine.Job(points, k, k) for k in range(size)])
    stack.train(until=CHUNK)  # the first steps are slow
    times = [time.perf_counter()]
    stack.train(after_chunk=lambda: times.append(time.perf_counter()))
    step_s = statistics.median(b - a for a, b in zip(times, times[1:], strict=False)) / (CHUNK * size)
    return step_s * MODEL_STEPS_PER_SECOND
