"""Promise against recovery: the score of single latents, by what theory promised of them before any method was trained.

Shows where theory is confirmed (promised and recovered), where estimation falls short of it (promised, not recovered), and where
methods succeed without a promise: the conditions are sufficient, not necessary. The verdicts are those of `datasets.oracle`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.report.results import ROLES, Results, is_nested
from bench.report.texts import with_interval
from bench.run.store import write_text
from bench.scores import statistics
from datasets.oracle import NOT_COVERED, TIE, YES
from datasets.oracle import PROMISES as VERDICTS

PER_LATENT = "mcc_per_latent"
RECOVERED = 0.9  # a latent with a higher score counts as recovered
PROMISES = {  # each latent is in the first that fits
    "sparsity, changes": "by sparsity alone, and by changes alone",
    "sparsity": "by sparsity alone, not by changes alone",
    "changes": "by changes alone, not by sparsity alone",
    "sparsity, independence": "by sparsity and independence together, in a single domain, but by neither sparsity nor changes alone",
    "both": "only by sparsity and changes together",
    "tie": "by sparsity, but for another support with as many edges, which no condition that can be checked excludes",
    "none": "by no condition",
    "not covered": "theory does not speak of such data",
}


def latents(results: Results) -> pd.DataFrame:
    """One row per true latent of every trial that is ok: label, method, role, seed, trial_id, latent (from 0), promise, score.

    Trials without verdicts or without a score per latent (the truth is not known, or an earlier version ran) have no row.
    """
    columns = ["label", "method", "role", "seed", "trial_id", PER_LATENT, *VERDICTS]
    trials = results.trials
    if not {PER_LATENT, *VERDICTS} <= set(trials):
        return pd.DataFrame(columns=[*columns[:5], "latent", "promise", "score"])
    lengths = trials[[PER_LATENT, *VERDICTS]].map(_length)
    known = lengths.gt(0).all(axis=1) & lengths.eq(lengths[PER_LATENT], axis=0).all(axis=1)
    rows = trials.loc[results.ok & known, columns].reset_index(drop=True)
    rows["latent"] = rows[PER_LATENT].map(lambda scores: list(range(len(scores))))
    rows = rows.explode([PER_LATENT, *VERDICTS, "latent"], ignore_index=True)
    yes = rows[list(VERDICTS)] == YES
    sparsity, independence, changes, both = (yes[verdict] for verdict in VERDICTS)
    tie, covered = rows["promised_both"] == TIE, rows["promised_both"] != NOT_COVERED
    conditions = [sparsity & changes, sparsity, changes, independence, both, tie, covered]
    rows["promise"] = np.select(conditions, list(PROMISES)[:-1], NOT_COVERED) if len(rows) else ""
    rows["score"] = pd.to_numeric(rows[PER_LATENT], errors="coerce").astype(float)
    return rows[[*columns[:5], "latent", "promise", "score"]]


def _length(value: Any) -> int:
    """How many latents a list speaks of; 0 for what is no list of single values."""
    return len(value) if isinstance(value, (list, np.ndarray)) and not any(map(is_nested, value)) else 0


def table(results: Results) -> pd.DataFrame:
    """One row per label and promise (in the order of `PROMISES`, those that no latent has left out), methods before ceiling and floors.

    Columns: label, method, role, promise; n_seeds, n_trials and n_latents behind the row; score, the mean over data seeds of the mean
    per-latent score, with score_low and score_high, the ends of its 95 % interval; recovered, the fraction of latents above 0.9.
    """
    rows = latents(results)
    groups = rows.groupby(["label", "method", "role", "promise"])
    found = groups.agg(
        n_seeds=("seed", "nunique"),
        n_trials=("trial_id", "nunique"),
        n_latents=("score", "size"),
        recovered=("score", lambda scores: (scores > RECOVERED).mean()),
    )
    by_seed = rows.groupby([*groups.keys, "seed"])["score"].mean().unstack()
    mean, low, high, _ = statistics.mean_interval(by_seed.reindex(found.index).to_numpy(float).T, bounds=(0, 1))
    found[["score", "score_low", "score_high"]] = np.stack([mean, low, high], axis=1)
    found = found.reset_index()
    order = found.assign(
        role=found["role"].map(list(ROLES).index),
        promise=found["promise"].map(list(PROMISES).index),
        overall=found["label"].map(rows.groupby("label")["score"].mean()),
    ).sort_values(["role", "overall", "label", "promise"], ascending=[True, False, True, True])
    return found.loc[order.index].reset_index(drop=True)


def write(results: Results, folder: Path) -> pd.DataFrame:
    """recovery.md and recovery.csv in `folder`, unless no trial has both verdicts and scores, and the table."""
    rows = table(results)
    if len(rows):
        write_text(folder / "recovery.csv", rows.to_csv(index=False))
        write_text(folder / "recovery.md", _markdown(rows))
    return rows


def _markdown(rows: pd.DataFrame) -> str:
    promises = [promise for promise in PROMISES if promise in set(rows["promise"])]
    most = rows.groupby("promise")["n_latents"].max()
    lines = []
    for label, own in rows.groupby("label", sort=False):
        entries = {row["promise"]: _entry(row, most[row["promise"]]) for _, row in own.iterrows()}
        lines.append({"method": label} | {promise: entries.get(promise, "–") for promise in promises})
    meanings = [f"- **{promise}** ({most[promise]} latents): promised {PROMISES[promise]}." for promise in promises]
    meanings = [line.replace("promised theory", "theory").replace("promised by no", "by no") for line in meanings]
    return "\n\n".join(
        [
            "# Promise against recovery",
            tabulate(lines, "keys", tablefmt="pipe", disable_numparse=True),
            f"Score of single latents (absolute Spearman correlation with the matched estimate, test), mean over data seeds with its 95 % "
            f"interval; after the bar, the part of the latents that score above {RECOVERED}; in brackets, where fewer trials than "
            f"another method's are ok, how many latents there are.",
            "\n".join(meanings),
        ]
    ) + "\n"  # fmt: skip


def _entry(row: pd.Series, most: int) -> str:
    count = f" ({row['n_latents']})" if row["n_latents"] < most else ""
    score = with_interval(row["score"], row["score_low"], row["score_high"])
    return f"{score} \\| {100 * row['recovered']:.0f} %{count}"
