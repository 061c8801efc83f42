"""Every two methods of a run against each other, on the data seeds and cells that both have a score of; `bench.scores.statistics` has the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.report.results import COUNTED, RESPLITS, SPREAD, Results, is_ok, once, score_array
from bench.report.texts import number, p_text, with_interval
from bench.run.store import write_text
from bench.scores import statistics
from bench.statuses import NOT_APPLICABLE
from bench.text import csv_text, markdown


@once
def table(results: Results) -> pd.DataFrame:
    """One row per pair of methods, floors and ceiling left out; the better one, by its mean score, first; the best methods on top.

    None where the truth is not known and nothing but errors of reconstruction is, which compare no two methods.

    Columns: better, worse, n_seeds that both have; difference (its mean over data seeds, each averaged over the cells first), with
    difference_low and difference_high, the ends of its 95 % interval, and p; p_wilcoxon, of the signed-rank test on the same
    differences; p_holm and p_wilcoxon_holm, corrected over all rows; improvement, the part of the data seeds on which `better` is better.
    Where these are re-splits of one data set, the ends are the least and the greatest difference,
    every p and the improvement are NaN, and a column `resplits` says so.
    """
    trials, score = results.trials, results.headline.name
    if (
        results.headline.lower_is_better
    ):  # of data without truth, an error of reconstruction: it says nothing of the latents
        trials = trials[:0]
    columns = [*dict.fromkeys(["label", "seed", score, *results.cells, *COUNTED])]
    own = trials.loc[(trials["role"] == "method") & (trials["status"] != NOT_APPLICABLE), columns]
    order = own[is_ok(own)].groupby("label")[score].mean().dropna().sort_values(ascending=False).index
    found = score_array(own, results.cells, score)
    values = found.values[[found.labels.index(label) for label in order]]
    first, second = np.triu_indices(len(order), 1)
    difference = statistics.mean_along(values[first] - values[second], -1)  # (n_pairs, n_seeds, 1)
    interval = results.over_seeds(difference)
    zero = np.zeros_like(difference)
    rows = pd.DataFrame(
        {
            "better": order[first],
            "worse": order[second],
            "n_seeds": (~np.isnan(difference)).sum(axis=(1, 2)),
            "difference": interval.mean.ravel(),
            "difference_low": interval.low.ravel(),
            "difference_high": interval.high.ravel(),
            "p": interval.p.ravel(),
            "p_wilcoxon": statistics.wilcoxon(difference, zero).ravel(),
            "improvement": statistics.probability_of_improvement(difference, zero).ravel(),
        }
    )
    if results.resplit:
        rows = rows.assign(p_wilcoxon=np.nan, improvement=np.nan, **{RESPLITS: True})
    for name in ("p", "p_wilcoxon"):
        rows[f"{name}_holm"] = statistics.holm(rows[name].to_numpy(float))
    return rows


MEANING = (
    "Difference: the mean over data seeds of the difference on the same seed (averaged over cells first) in {score}, test, with "
    "its 95 % interval. p: of that difference, and of Wilcoxon's signed-rank test, both with Holm's correction over the rows. Improvement: "
    "the part of the data seeds on which the first method is better. Cells and seeds on which one of the two failed are left out."
)

RESPLIT_MEANING = (
    "Difference: the mean over re-splits of one data set of the difference on the same re-split (averaged over cells first) in {score}, "
    f"test, with its {SPREAD}. There is no p and no better method: re-splits of one data set are no evidence about new data. Cells and "
    "re-splits on which one of the two failed are left out."
)


def meaning(results: Results) -> str:
    """What the columns of the table mean."""
    return (RESPLIT_MEANING if results.resplit else MEANING).replace("{score}", results.headline_name)


def write(results: Results, folder: Path) -> pd.DataFrame:
    """comparisons.md and comparisons.csv in `folder`, unless no two methods can be compared, and the table."""
    rows = table(results)
    if len(rows):
        names = {"better": "higher", "worse": "lower"} if RESPLITS in rows else {}
        texted = [{name: markdown(text) for name, text in row.items()} for row in texts(rows)]
        lines = tabulate(texted, "keys", tablefmt="pipe", disable_numparse=True)
        write_text(folder / "comparisons.csv", csv_text(rows.rename(columns=names)))
        write_text(folder / "comparisons.md", f"# Paired comparisons\n\n{lines}\n\n{meaning(results)}\n")
    return rows


def texts(rows: pd.DataFrame) -> list[dict[str, str]]:
    """The rows of `table` for reading, by heading."""
    if RESPLITS in rows:
        return [
            {
                "higher": row["better"],
                "lower": row["worse"],
                "re-splits": str(row["n_seeds"]),
                "difference": _difference(row),
            }
            for row in rows.to_dict("records")
        ]
    return [
        {
            "better": row["better"],
            "worse": row["worse"],
            "seeds": str(row["n_seeds"]),
            "difference": _difference(row),
            "p": p_text(row["p_holm"]),
            "p, Wilcoxon": p_text(row["p_wilcoxon_holm"]),
            "improvement": number(row["improvement"], 2),
        }
        for row in rows.to_dict("records")
    ]


def _difference(row: dict[Any, Any]) -> str:
    return with_interval(row["difference"], row["difference_low"], row["difference_high"])
