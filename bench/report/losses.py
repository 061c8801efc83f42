"""What a method lost, and to what: to optimisation, to identifiability, or to the sample. Per method and cell, from starts at the truth.

Where a run has trials of a method from the chart and from the truth (`--start chart,truth`), with all else equal, what its score lacks to 1
has three parts. The sample's, bias included, is what the start at the truth lacks itself. The rest, truth minus chart, is lost to optimisation
on a data set where the objective from the chart is the worse one, by more than two standard errors of the paired difference; elsewhere two
solutions fit equally well and differ, so that it is lost to identifiability.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.report import lists
from bench.report.results import BLOCKS, HEADLINE_NAME, START, Results, first_of, mean_in_places
from bench.report.texts import number, place_text
from bench.run.store import write_text
from bench.scores import HEADLINE
from bench.scores.training import ties
from bench.text import csv_text, markdown

PARTS = {
    "optimisation": "lost to optimisation",
    "identifiability": "lost to identifiability",
    "sample": "lost to the sample",
}
WORSE = 0.1  # nats above the objective from the truth, which a reader can compare over methods


def pairs(results: Results) -> pd.DataFrame:
    """One row per trial from the chart that has one from the truth beside it, both ok.

    Columns: method, seed and the cells; score and truth, the two scores; gap, the objective minus that from the truth, in nats; is_worse,
    whether it exceeds two standard errors; the parts of `PARTS`; agreement and n_ties of the start at the chart.
    """
    trials = results.trials
    apart = (START, "restarts")  # beside the truth one start is enough
    keys = ["method", "seed", "root_seed", *results.cells, *(f for f in results.method_fields if f not in apart)]
    if START not in trials or BLOCKS not in trials:
        return pd.DataFrame(columns=keys)
    values = [HEADLINE, BLOCKS, "agreement", "n_ties"]
    usable = results.ok & trials[HEADLINE].notna() & (lists.lengths(trials[BLOCKS]) > 0)
    columns = [*dict.fromkeys([*keys, *values, *(field for field in apart if field in trials)])]
    chart, truth = (trials.loc[usable & (trials[START] == start), columns] for start in ("chart", "truth"))
    if "restarts" in truth:
        truth = truth.sort_values("restarts").drop_duplicates(keys, keep="last")
    both = chart[[*keys, *values]].merge(
        truth[[*keys, HEADLINE, BLOCKS]], on=keys, suffixes=("", "_truth"), validate="many_to_one"
    )
    both = both[lists.lengths(both[BLOCKS]) == lists.lengths(both[f"{BLOCKS}_truth"])].reset_index(drop=True)
    shown = ["method", "seed", *results.cells]
    found = both[[*shown, "agreement", "n_ties"]].assign(score=both[HEADLINE], truth=both[f"{HEADLINE}_truth"])
    found["gap"], found["is_worse"] = _compared(both[f"{BLOCKS}_truth"], both[BLOCKS])
    rest = found["truth"] - found["score"]
    found["optimisation"] = rest.where(found["is_worse"].astype(bool), 0.0)
    found["identifiability"] = rest - found["optimisation"]
    found["sample"] = 1 - found["truth"]
    return found


def _compared(truth: pd.Series, own: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """How much greater the mean of each list in `own` is than that of the list in `truth`, and whether surely so."""
    gap, is_worse = np.zeros(len(own)), np.zeros(len(own), dtype=bool)
    lengths, values = lists.lengths(own), (lists.flat(truth), lists.flat(own))
    starts = np.cumsum(lengths) - lengths
    for length in np.unique(lengths):
        at = np.flatnonzero(lengths == length)
        pairs = np.stack([each[starts[at, None] + np.arange(length)] for each in values], axis=1)
        means = pairs.mean(axis=2)
        gap[at] = means[:, 1] - means[:, 0]
        # The truth's model is the best of the two, or the other one is, and then it is not worse.
        is_worse[at] = (means[:, 1] > means[:, 0]) & ~ties(pairs)[:, 1]
    return gap, is_worse


def table(results: Results) -> pd.DataFrame:
    """One row per method and cell: the means of `pairs` over data seeds.

    Further columns: n_seeds; worse, the part of the data seeds on which the objective is worse than from the truth, and far, by more than
    `WORSE` nats; each part of `PARTS` with its 95 % interval.
    """
    found = pairs(results)
    if found.empty:
        return pd.DataFrame()
    by = ["method", *results.cells]
    cell = found.groupby(by, dropna=False).ngroup().to_numpy()
    seed, seeds = pd.factorize(found["seed"])
    found = found.assign(worse=found["is_worse"], far=found["gap"] > WORSE)
    groups = found.groupby(cell)
    means = groups[["score", "truth", "gap", "agreement", "n_ties", "worse", "far"]].mean()
    rows = pd.concat(
        [found.loc[first_of(cell), by].reset_index(drop=True), groups["seed"].nunique().rename("n_seeds"), means],
        axis=1,
    )
    shape = (len(rows), len(seeds))
    for part in PARTS:
        by_seed = mean_in_places(found[part], np.ravel_multi_index((cell, seed), shape), shape)
        mean, low, high, _ = results.over_seeds(by_seed.T)
        rows[[part, f"{part}_low", f"{part}_high"]] = np.stack([mean, low, high], axis=1)
    return rows


MEANING = (
    f"Score and from the truth: mean {HEADLINE_NAME} of the usual start and of one beside the true latents, an oracle. What the score lacks "
    "to 1 is the sum of three losses. To the sample: what the start at the truth lacks. To optimisation: the difference of the two on data "
    "seeds where the objective is worse than from the truth by more than two standard errors of the paired difference. To identifiability: "
    "that difference elsewhere, where both fit equally well. Objective: how far it is above that from the truth, in nats, and on what part "
    f"of the data seeds surely, and by more than {WORSE} nats. Agreement: of restarts that fit equally well, which needs no truth."
)


def write(results: Results, folder: Path) -> pd.DataFrame:
    """losses.md and losses.csv in `folder`, where trials from the chart and from the truth stand beside each other; and the table."""
    rows = table(results)
    if len(rows):
        lines = [
            {
                "method": markdown(row["method"]),
                "cell": markdown(place_text({key: row[key] for key in results.cells})) or "the one cell",
            }
            | {"seeds": row["n_seeds"], "score": number(row["score"]), "from the truth": number(row["truth"])}
            | {words: number(row[part]) for part, words in PARTS.items()}
            | {"objective": f"{row['gap']:+.3f}", "worse": number(row["worse"], 2), "far": number(row["far"], 2)}
            | {"agreement": number(row["agreement"])}
            for row in rows.to_dict("records")
        ]
        text = tabulate(lines, "keys", tablefmt="pipe", disable_numparse=True)
        write_text(folder / "losses.csv", csv_text(rows))
        write_text(folder / "losses.md", f"# What is lost to what\n\n{text}\n\n{MEANING}\n")
    return rows


def sentences(rows: pd.DataFrame) -> list[str]:
    """For each method of `table`, its mean losses over the cells, in words."""
    return (
        [
            f"{method}: {number(own['score'].mean())} from the chart; "
            + ", ".join(f"{number(own[part].mean())} {words}" for part, words in PARTS.items())
            for method, own in rows.groupby("method", sort=True)
        ]
        if len(rows)
        else []
    )
