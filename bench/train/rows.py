"""One flat row per trial: its full specification, what became of it, its scores and the oracle's verdicts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bench import statuses
from bench.plan.packs import Pack
from bench.plan.trials import SHAPE, Trial, data_facts
from bench.registry import UsageError
from bench.scores import SCORES
from bench.train.outcomes import Outcome
from datasets import oracle
from methods import methods

SHARED = ("pack_id", "pack_size", "train_s", "score_s", "device", "time_limit")  # columns that all rows of a pack share
# What training says of a trial beside its scores: of the chart that it started from, its validation objective by blocks of points, and
# where its code failed.
FACTS = ("chart_nmse", "wide_nmse", "chart_starts", "chart_met", "chart_s", "objective_blocks", "traceback")
# Columns that tables of results add to those of the rows: no field and no score may be called so.
ADDED = frozenset(
    [
        "label",
        "run",
        "archive",
        "data_seed",
        "ladder",
        "scope",
        "cell",
        "side",
        "n_seeds",
        "n_trials",
        "n_ok",
        "n_failed",
        "n_not_applicable",
        "iqm",
        "pessimistic",
        "comparable",
        "reason",
    ]
)
# Columns of every row, beside the fields of its data set and method and the scores of plug-ins.
COLUMNS = frozenset(
    [
        "trial_id",
        "method",
        "role",
        "dataset",
        *SHAPE,
        "has_truth",
        "resplits",
        "replicates",
        "seed",
        "root_seed",
        "status",
        "error",
    ]
    + [*oracle.DEFINITIONS, *FACTS, *SHARED, "pack_slot", "code", "finished_at"]
)


def row(trial: Trial, slot: int, outcome: Outcome, shared: dict[str, Any]) -> dict[str, Any]:
    """The row of a trial; every field of the data set and the method is a column. `shared` are the columns `SHARED`.

    Raises UsageError where a field, a plugin's say, has the name of another column.
    """
    dataset = trial.make_dataset()
    facts = data_facts(dataset)
    what = {
        "trial_id": trial.trial_id,
        "method": trial.method,
        "role": "oracle" if trial.method_fields.get("start") == "truth" else methods[trial.method].facts.role,
        "dataset": trial.dataset,
    }
    data = dict(zip(SHAPE, facts, strict=False))
    data |= {name: value for name, value in trial.dataset_fields.items() if value is not None or name not in SHAPE}
    result = {
        "has_truth": facts.has_truth,
        "resplits": getattr(dataset, "resplits", False),
        "replicates": getattr(dataset, "replicates", None),
        "seed": trial.seed,
        "root_seed": trial.root_seed,
        "status": outcome.status,
        "error": outcome.error,
        **dict.fromkeys([*SCORES, *oracle.DEFINITIONS]),
        **outcome.scores,
        **dict.fromkeys(FACTS),
        **outcome.facts,
        **dict.fromkeys(SHARED),
        **shared,
        "pack_slot": slot,
        "code": trial.code,
        "finished_at": time.time(),
    }
    flat: dict[str, Any] = {}
    for part in (what, data, result, trial.method_fields):
        for name in flat.keys() & part.keys():
            raise UsageError(
                f"{trial.method} on {trial.dataset}: {name!r} names two columns of the results; rename the field"
            )
        flat |= part
    return flat


def check_columns(trials: Sequence[Trial]) -> None:
    """Raises UsageError, before anything trains, where a field or a score has the name of another column of rows or tables."""
    for trial in {(trial.dataset, trial.method): trial for trial in trials}.values():
        taken = sorted(ADDED & set(row(trial, 0, Outcome(statuses.OK), {})))
        if taken:
            raise UsageError(f"{trial.method} on {trial.dataset}: {taken[0]!r} names a column of the tables; rename it")


def without_result(pack: Pack, outcome: Outcome, device: str, time_limit: float | None) -> list[dict[str, Any]]:
    """Rows of the trials of a pack that are to be run, where its process could give none. All have one outcome."""
    shared = {"pack_id": pack.pack_id, "pack_size": len(pack.trials), "device": device, "time_limit": time_limit}
    return [row(pack.trials[slot], slot, outcome, shared) for slot in pack.slots]
