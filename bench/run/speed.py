"""How fast this machine trains, measured: what estimates of time are multiplied by."""

from __future__ import annotations

import functools
import multiprocessing
import statistics
import sys
import time

from bench.machine import cores
from bench.plan.packs import CHUNK, MODEL_STEPS_PER_SECOND, MODELS_PER_PACK
from bench.plan.trials import model_shape

REFERENCE = "vae"  # the method that the constants of the plan are relative to
N_CHUNKS = 3
SHORT = 60  # expected seconds on one core: less is not worth measuring


def pace(expected_s: float, workers: int) -> float:
    """The seconds that an expected second takes here, while `workers` processes train at a time; 1 for what is short anyway."""
    return _measured(workers) if expected_s > SHORT else 1.0


@functools.cache
def _measured(workers: int) -> float:
    workers = max(1, min(workers, cores()))
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(workers) as pool:
        return statistics.mean(pool.map(_pace, range(workers), chunksize=1))


def _pace(seed: int) -> float:
    import numpy as np

    from bench.train import engine
    from datasets import datasets
    from methods import methods

    engine.use_one_thread()
    dataset = datasets["sparse-mixing"].make({})
    points = dataset.generate(np.random.SeedSequence(seed)).train
    size = MODELS_PER_PACK["cpu"]
    method = methods[REFERENCE].make({"steps": (N_CHUNKS + 1) * CHUNK, "start": "random"})
    stack = engine.Stack(method, model_shape(dataset), [engine.Job(points, k, k) for k in range(size)])
    stack.train(until=CHUNK)  # the first steps are slow
    times = [time.perf_counter()]
    stack.train(after_chunk=lambda: times.append(time.perf_counter()))
    step_s = statistics.median(b - a for a, b in zip(times, times[1:], strict=False)) / (CHUNK * size)
    return step_s * MODEL_STEPS_PER_SECOND
