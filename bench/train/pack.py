"""Runs one pack: generates its data, trains, encodes, scores. Gives rows and small arrays; knows neither Ray nor a folder."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from bench.plan import plugins
from bench.plan.packs import Pack
from bench.train import estimators, stacked
from bench.train.chart import Atlas
from bench.train.data import verdicts
from bench.train.errors import SourceChanged, check_source
from bench.train.outcomes import failure, is_out_of_memory
from bench.train.reporter import Reporter, Rows
from bench.train.rows import row

SECONDS_BETWEEN_ROWS = 1.0  # of estimators, each of which may be done in no time


class Finished(NamedTuple):
    """A pack's rows, one per trial, and the arrays that are kept of them, by trial and name.

    `is_too_large`: its models together ran out of memory, and some of them alone may not.
    """

    rows: list[dict[str, Any]]
    latents: dict[str, np.ndarray]
    is_too_large: bool = False


def run_pack(
    pack: Pack,
    device: str = "cpu",
    time_limit: float | None = None,
    charts: Mapping[str, Atlas] | None = None,
    reporter: Reporter | None = None,
    keep: Collection[str] = (),
) -> Finished:
    """Runs the trials of `pack`. An exception becomes rows with a status, not a crash.

    `charts` are those that are known, by id; others that the trials start from are trained here.

    `time_limit` is the seconds of training per trial; a stack of models, which trains as one, has those of all its trials. `keep` names the
    kinds of `bench.train.kept` that are given back of each trial.
    """
    reporter = reporter or Reporter()
    plugins.load(pack.plugins)
    if not pack.is_stacked:
        return _run_estimators(pack, device, time_limit, reporter, keep)
    return _run_stack(pack, device, time_limit, charts or {}, reporter, keep)


def _run_stack(
    pack: Pack,
    device: str,
    time_limit: float | None,
    charts: Mapping[str, Atlas],
    reporter: Reporter,
    keep: Collection[str],
) -> Finished:
    start = time.perf_counter()
    is_too_large = False
    try:
        check_source(pack)
        outcomes, train_s, score_s = stacked.run(pack, device, time_limit, charts, reporter, keep)
    except BaseException as error:
        outcomes, train_s, score_s = [failure(error)] * len(pack.trials), time.perf_counter() - start, 0.0
        is_too_large = is_out_of_memory(error) and len(pack.trials) > 1
    share = train_s / len(pack.trials), score_s / len(pack.trials)
    results = {slot: estimators.Estimated(outcome, *share) for slot, outcome in enumerate(outcomes)}
    return _finished(pack, results, device, time_limit, reporter)._replace(is_too_large=is_too_large)


def _run_estimators(
    pack: Pack, device: str, time_limit: float | None, reporter: Reporter, keep: Collection[str]
) -> Finished:
    """What is given back has the rows that were said on the way too."""
    try:
        check_source(pack)
    except SourceChanged as error:
        crashed = estimators.Estimated(failure(error), 0.0, 0.0)
        return _finished(pack, dict.fromkeys(pack.slots, crashed), device, time_limit, reporter)
    whole, news = Finished([], {}), Finished([], {})
    said_at = time.monotonic()
    for slot in pack.slots:
        estimated = estimators.estimate(pack.trials[slot], slot, time_limit, reporter, keep)
        found = _finished(pack, {slot: estimated}, device, time_limit, reporter)
        whole, news = (Finished(old.rows + found.rows, old.latents | found.latents) for old in (whole, news))
        reporter.progress(len(whole.rows) / len(pack.slots))
        if time.monotonic() > said_at + SECONDS_BETWEEN_ROWS:
            reporter.listener(Rows(news.rows, news.latents))
            news, said_at = Finished([], {}), time.monotonic()
    return whole


def _finished(
    pack: Pack,
    results: Mapping[int, estimators.Estimated],
    device: str,
    time_limit: float | None,
    reporter: Reporter,
) -> Finished:
    """The rows of the trials at some slots, with what is kept of them."""
    shared = {"pack_id": pack.pack_id, "pack_size": len(pack.trials), "device": device, "time_limit": time_limit}
    rows, latents = list[dict[str, Any]](), dict[str, np.ndarray]()
    for slot, (outcome, train_s, score_s) in results.items():
        trial = pack.trials[slot]
        has_data = slot not in reporter.lost or not reporter.lost[slot].makes_data
        of_data = verdicts(trial) if has_data else {}
        rows.append(row(trial, slot, outcome, shared | {"train_s": train_s, "score_s": score_s}) | of_data)
        latents |= {
            f"{trial.trial_id}.{key}": array if array.dtype == np.uint8 else array.astype(np.float32)
            for key, array in outcome.latents.items()
        }
        latents |= {f"{trial.trial_id}.{key}": array for key, array in outcome.kept.items()}
    return Finished(rows, latents)
