"""Runs one pack: generates its data, trains, encodes, scores. Gives rows and small arrays; knows neither Ray nor a folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from bench.plan import plugins
from bench.plan.packs import Pack
from bench.train import estimators, stacked
from bench.train.chart import Atlas
from bench.train.data import verdicts
from bench.train.errors import check_source
from bench.train.outcomes import Outcome, failure
from bench.train.rows import row


class Finished(NamedTuple):
    """A pack's rows, one per trial, and the arrays that are kept of them, by trial and name."""

    rows: list[dict[str, Any]]
    latents: dict[str, np.ndarray]


def run_pack(
    pack: Pack, device: str = "cpu", time_limit: float | None = None, charts: Mapping[str, Atlas] | None = None
) -> Finished:
    """Runs the trials of `pack`. An exception becomes rows with a status, not a crash.

    `charts` are those that are known, by id; others that the trials start from are trained here.

    `time_limit` is the seconds of training per trial; a stack of models, which trains as one, has those of all its trials.
    """
    start = time.perf_counter()
    plugins.load(pack.plugins)
    try:
        check_source(pack)
        outcomes, train_s, score_s = _outcomes(pack, device, time_limit, charts)
    except Exception as error:
        outcomes, train_s, score_s = [failure(error)] * len(pack.trials), time.perf_counter() - start, 0.0
    shared = {
        "pack_id": pack.pack_id,
        "pack_size": len(pack.trials),
        "train_s": train_s / len(pack.trials),
        "score_s": score_s / len(pack.trials),
        "device": device,
        "time_limit": time_limit,
    }
    members = list(zip(pack.trials, outcomes, strict=True))
    rows = [row(trial, slot, outcome, shared) | verdicts(trial) for slot, (trial, outcome) in enumerate(members)]
    latents = {
        f"{trial.trial_id}.{key}": array.astype(np.float32)
        for trial, outcome in members
        for key, array in outcome.latents.items()
    }
    return Finished(rows, latents)


def _outcomes(
    pack: Pack, device: str, time_limit: float | None, charts: Mapping[str, Atlas] | None
) -> tuple[list[Outcome], float, float]:
    if pack.is_stacked:
        return stacked.run(pack, device, time_limit, charts)
    results = estimators.run(pack, time_limit)
    outcomes = [result.outcome for result in results]
    return outcomes, sum(result.train_s for result in results), sum(result.score_s for result in results)
