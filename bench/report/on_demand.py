"""Scores on demand (`report --metrics all`), from the latents that runs kept of their trials. Nothing is trained.

Of a trial the first test points are kept, with the truth: one half of them is where matches and probes are fitted, the other is scored.
So the usual scores are here too, of the same points, and differ from those in the rows, which are of more of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.registry import UsageError
from bench.report.results import Results, summary
from bench.report.texts import with_interval
from bench.run.store import write_text
from bench.scores import HEADLINE, ON_DEMAND, SCORES, Score
from bench.scores.files import FEWEST_POINTS, split_at_random
from bench.scores.known import TOPICS, heading
from bench.scores.metrics import Evaluation
from bench.text import csv_text, markdown

NAME = "metrics"  # of the files: NAME.csv and NAME.md


def scored_on_demand(results: Results) -> pd.DataFrame:
    """The trials that are ok and of which latents with their truth are kept, with every score of `on_demand_records` as a column.

    A trial of which nothing is kept that can be scored is left out; damages are noted in its run. Raises UsageError where there is no other.
    """
    records = on_demand_records()
    trials = results.trials[results.ok]
    found: dict[Any, dict[str, Any]] = {}
    for place, row in trials.iterrows():
        store = results.stores[row["run"]]
        arrays = store.latents(row)
        if not arrays or not arrays["z"].shape[1] or len(arrays["z"]) < FEWEST_POINTS:
            continue
        domains = np.unique(arrays["domains"], return_inverse=True)[1]
        try:
            evaluation = Evaluation.of(*split_at_random(arrays["z"], arrays["z_hat"], domains))
        except ValueError as error:
            store.note(f"{store.folder.name}: the kept latents of {row['trial_id']} cannot be scored: {error}")
            continue
        found[place] = evaluation.scores(records)[0]
    if not found:
        raise UsageError(
            "--metrics all: no latents with a known truth are kept of these trials (the folder representations/ of a run), so there is nothing to score"
        )
    trials = trials.loc[list(found)].drop(columns=[name for name in records if name in trials])
    return pd.concat([trials, pd.DataFrame.from_dict(found, orient="index").astype(float)], axis=1)


def on_demand_records() -> Mapping[str, Score]:
    """All scores of topics, those of every trial first: what `run_bench.py metrics` shows."""
    every = SCORES | ON_DEMAND
    return {name: every[name] for topic in TOPICS for name in topic.scores if every[name].compute}


def write(results: Results, folder: Path) -> list[Path]:
    """metrics.csv, a row per trial, and metrics.md, means over data seeds by method and topic; returns their paths."""
    trials = scored_on_demand(results)
    records = on_demand_records()
    own = [column for column in ("run", "trial_id", "label", "role", *results.cells, "seed") if column in trials]
    paths = [folder / f"{NAME}.csv", folder / f"{NAME}.md"]
    write_text(paths[0], csv_text(trials[[*own, *records]]))
    write_text(paths[1], _page(trials, records))
    return paths


def _page(trials: pd.DataFrame, records: Mapping[str, Score]) -> str:
    rows = summary(trials, ["label", "role"], records.values()).sort_values(HEADLINE, ascending=False)
    parts = [
        "# Metrics on demand",
        f"Of {len(trials)} trials, from the test points that were kept of each: matches and probes are fitted on one half of them, and the other is "
        "scored. So numbers differ a little from those of the leaderboard, which are of more points. Means over data seeds of the means over "
        "cells, with 95 % intervals. `python run_bench.py metrics` says what each score can be trusted for.",
    ]
    for topic in TOPICS:
        shown = [records[name] for name in topic.scores if name in records and rows[name].notna().any()]
        if shown:
            headings = ["method", *(heading(record, " ") for record in shown)]
            body = [
                [markdown(str(row["label"])), *(_text(row, record.name) for record in shown)]
                for row in rows.to_dict("records")
            ]
            align = ("left", *["right"] * len(shown))
            grid = tabulate(body, headers=headings, tablefmt="pipe", disable_numparse=True, colalign=align)
            parts += [f"## {topic.title}", topic.trust, grid]
    return "\n\n".join(parts) + "\n"


def _text(row: Mapping[Any, Any], name: str) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) or "–"
