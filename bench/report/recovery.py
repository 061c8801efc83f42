"""Promise against recovery: the score of single latents, by what theory promised of them before any method was trained.

Some latents are easy for a floor too. So beside a score stands its gain over the best floor on the same latents. Latents of different mixings
differ in the number of their children, so only those of one kind of data are averaged: over the numbers of domains, along which a data
seed keeps its mixing.

Shows where theory is confirmed (promised and recovered), where estimation falls short of it (promised, not recovered), and where
methods succeed without a promise: the conditions are sufficient, not necessary. The verdicts are those of `datasets.oracle`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.registry import CHANGES, CORNERS, ROLES, Facts
from bench.report import lists
from bench.report.results import RESPLITS, SPREAD, STRATUM, Results, first_of, mean_in_places, once
from bench.report.texts import difference_text, number, value_text, with_interval
from bench.run.store import write_text
from bench.text import csv_text, markdown
from datasets.oracle import NOT_COVERED, PROMISE_OF, TIE, YES
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


def assumptions(facts: Facts) -> str:
    """All that a method assumes of latents and mixing, in words: what its ladder says of it, and where its latents are independent."""
    assumed = CORNERS[facts.corner]
    where = "in each domain" if CHANGES in assumed else "over all domains"
    return ", ".join([*sorted(assumed), *[f"independence {where}"] * facts.independent])


def own_promise(facts: Facts, trial: Mapping[Any, Any]) -> list[bool] | None:
    """Of which latents of a trial theory promises that the assumptions of its method suffice; None where that is not known.

    One prior for all domains with independent latents is wrong as soon as several latents change with the domain, whatever the mixing: a
    method that assumes sparsity and independence over all domains is promised nothing unless the domains are alike. A method that assumes
    sparsity alone is promised what needs no independence.
    """
    corner = facts.corner
    if facts.role != "method" or corner == "neither" or not (facts.independent or corner == "sparsity"):
        return None
    verdicts = trial.get(PROMISE_OF[corner] if facts.independent else "promised_sparsity")
    if not isinstance(verdicts, list) or not verdicts:
        return None
    if facts.independent and corner == "sparsity":
        rank = trial.get("change_rank")
        return None if rank is None or pd.isna(rank) else [verdict == YES and rank == 0 for verdict in verdicts]
    return [verdict == YES for verdict in verdicts]


def own_promises(trials: pd.DataFrame, methods: Mapping[str, Facts]) -> tuple[np.ndarray, list[list[bool] | None]]:
    """A number for each trial, and by this number its `own_promise`, asked once for each method with the same verdicts."""
    there = [name for name in VERDICTS if name in trials]
    asked = trials[["method", *{"change_rank"} & set(trials)]]
    asked = asked.assign(**{name: lists.codes(trials[name]) for name in there})
    number = asked.groupby(list(asked), dropna=False).ngroup().to_numpy()
    first = trials.iloc[first_of(number)]
    columns = {name: first[name].tolist() for name in asked}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return number, [own_promise(methods.get(row["method"], Facts("", "", ())), row) for row in rows]


def latents(results: Results) -> pd.DataFrame:
    """One row per true latent of every trial that is ok.

    Columns: label, method, role, seed, trial_id, data (their kind in words, empty where there is one), latent (from 0), promise,
    promised (1 or 0, whether the assumptions of the method suffice; NaN where that is not known), score, and gain, how much the score exceeds
    that of the best floor: the one whose mean over all latents of the same cell and promise is highest. Trials without verdicts or without
    a score per latent (the truth is not known, or an earlier version ran) have no row.
    """
    given = ["label", "method", "role", "seed", "trial_id"]
    found = [*given, "data", "latent", "promise", "promised", "score", "gain"]
    trials = results.trials
    if not {PER_LATENT, *VERDICTS} <= set(trials):
        return pd.DataFrame(columns=found)
    columns = [PER_LATENT, *VERDICTS]
    lengths = np.stack([lists.lengths(trials[name]) for name in columns], axis=1)
    known = results.ok.to_numpy() & (lengths[:, 0] > 0) & (lengths == lengths[:, :1]).all(axis=1)
    cells = results.cells
    rows = trials.loc[known, [*dict.fromkeys([*given, *columns, *{"change_rank"} & set(trials), *cells])]]
    rows = rows.assign(data=_kinds_of_data(results)[known]).reset_index(drop=True)
    rows["cell"] = rows.groupby(cells, dropna=False).ngroup() if cells else 0

    n_latents = lengths[known, 0]
    trial = np.repeat(np.arange(len(rows)), n_latents)
    latent = np.arange(len(trial)) - np.repeat(np.cumsum(n_latents) - n_latents, n_latents)
    number, promises = own_promises(rows, results.methods)
    texts = {name: pd.Categorical(rows[name])[trial] for name in ("label", "method", "role", "data")}
    own = pd.DataFrame(texts | {name: rows[name].to_numpy()[trial] for name in ("seed", "cell")})
    own["trial_id"] = pd.Categorical.from_codes(trial, rows["trial_id"])
    own["latent"], own["score"] = latent, lists.flat(rows[PER_LATENT]).astype(float)
    own["promised"] = _padded(promises, n_latents.max(initial=0))[number[trial], latent]
    own["promise"] = pd.Categorical.from_codes(_promises(rows, trial, latent), list(PROMISES))
    own["gain"] = own["score"] - _best_floor(own)
    return own[found]


def _padded(values: Sequence[Sequence[float] | None], width: int) -> np.ndarray:
    """Lists of numbers as the rows of one array, (n_lists, width), NaN after their ends."""
    found = np.full((len(values), width), np.nan)
    for place, own in enumerate(values):
        if own:
            found[place, : len(own)] = own
    return found


def _promises(rows: pd.DataFrame, trial: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """The place in `PROMISES` of what theory promises of each latent, (n,), of a row `trial` (n,), looked up by the verdicts of its row."""
    number = (
        pd.DataFrame({name: lists.codes(rows[name]) for name in VERDICTS}).groupby(list(VERDICTS)).ngroup().to_numpy()
    )
    found = []
    for verdicts in rows.loc[first_of(number), list(VERDICTS)].itertuples(index=False):
        own = np.array([list(each) for each in verdicts], dtype=object)
        sparsity, independence, changes, both = own == YES
        tie, covered = own[3] == TIE, own[3] != NOT_COVERED
        conditions = [sparsity & changes, sparsity, changes, independence, both, tie, covered]
        found.append(np.select(conditions, range(len(conditions)), len(conditions)))
    return _padded([own.tolist() for own in found], latent.max(initial=-1) + 1)[number[trial], latent].astype(int)


def _kinds_of_data(results: Results) -> pd.Series:
    """For each trial what varies in its data beside the number of domains, in words."""
    fields = [field for field in results.dials(at_least=1) if field != "domains"]
    if not fields:
        return pd.Series("", results.trials.index)
    place = results.trials.groupby(fields, dropna=False).ngroup()
    kinds = results.trials.loc[~place.duplicated(), fields]
    words = {field: f"{field}=" + kinds[field].map(value_text) for field in fields}
    if STRATUM in fields:
        words = {STRATUM: kinds[STRATUM].fillna("")} | {k: v for k, v in words.items() if k != STRATUM}
    texts = pd.DataFrame(words, index=kinds.index).apply(lambda row: ", ".join(filter(None, row)), axis=1)
    return place.map(dict(zip(place[kinds.index], texts, strict=True)))


def _best_floor(rows: pd.DataFrame) -> np.ndarray:
    """For each latent the score of the floor that is best on those of its cell and promise, NaN where none has one."""
    floors = rows[(rows["role"] == "floor").to_numpy()]
    means = floors.groupby(["cell", "promise", "label"], observed=True)["score"].mean().unstack().dropna(how="all")
    if means.empty:
        return np.full(len(rows), np.nan)
    best = means.idxmax(axis=1).reindex(pd.MultiIndex.from_frame(floors[["cell", "promise"]]))
    is_best = floors["label"].astype(object).to_numpy() == best.astype(object).to_numpy()
    seeds = np.unique(rows["seed"])
    shape = (rows["cell"].max() + 1, len(seeds), rows["latent"].max() + 1)
    at = np.ravel_multi_index((rows["cell"], np.searchsorted(seeds, rows["seed"]), rows["latent"]), shape)
    of_floors = at[(rows["role"] == "floor").to_numpy()][is_best]
    return mean_in_places(floors["score"][is_best], of_floors, shape).ravel()[at]


@once
def table(results: Results) -> pd.DataFrame:
    """One row per label, kind of data and promise (in the order of `PROMISES`), methods before ceiling and floors.

    Columns: label, method, role, assumes (all that a method assumes, in words), data, promise; promised, the fraction of the latents of which
    theory promises that the method's own assumptions suffice; n_seeds, n_trials and n_latents behind the row; score and gain, the means over
    data seeds of the mean over latents, with Q_low and Q_high, the ends of their 95 % intervals; recovered, the fraction of latents that score
    above 0.9.
    """
    rows = latents(results)
    by = ["label", "method", "role", "data", "promise"]
    groups = rows.assign(recovered=rows["score"] > RECOVERED).groupby(by, observed=True)
    found = groups.agg(
        n_seeds=("seed", "nunique"),
        n_trials=("trial_id", "nunique"),
        n_latents=("score", "size"),
        promised=("promised", "mean"),
        recovered=("recovered", "mean"),
    )
    for value, bounds in (("score", (0.0, 1.0)), ("gain", (-1.0, 1.0))):
        by_seed = rows.groupby([*by, "seed"], observed=True)[value].mean().unstack()
        mean, low, high, _ = results.over_seeds(by_seed.reindex(found.index).to_numpy(float).T, bounds=bounds)
        found[[value, f"{value}_low", f"{value}_high"]] = np.stack([mean, low, high], axis=1)
    found = found.reset_index().astype(dict.fromkeys(by, object))
    if results.resplit:
        found[RESPLITS] = True
    known = {name: assumptions(facts) for name, facts in results.methods.items() if facts.role == "method"}
    found.insert(3, "assumes", found["method"].map(known).astype(object).fillna(""))
    order = found.assign(
        role=found["role"].map(list(ROLES).index),
        promise=found["promise"].map(list(PROMISES).index),
        overall=found["label"].map(rows.groupby("label", observed=True)["score"].mean()),
    ).sort_values(["role", "overall", "label", "data", "promise"], ascending=[True, False, True, True, True])
    return found.loc[order.index].reset_index(drop=True)


def write(results: Results, folder: Path) -> pd.DataFrame:
    """recovery.md and recovery.csv in `folder`, unless no trial has both verdicts and scores, and the table."""
    rows = table(results)
    if len(rows):
        write_text(folder / "recovery.csv", csv_text(rows))
        write_text(folder / "recovery.md", _markdown(rows))
    return rows


def _markdown(rows: pd.DataFrame) -> str:
    parts = ["# Promise against recovery"]
    for data, own in rows.groupby("data"):
        parts += [f"## {markdown(data)}"] * bool(data) + [_table(own)]
    most = rows.groupby(["data", "promise"])["n_latents"].max().groupby("promise").sum()
    meanings = [
        f"- **{promise}** ({most[promise]} latents): promised {meaning}."
        for promise, meaning in PROMISES.items()
        if promise in most
    ]
    meanings = [line.replace("promised theory", "theory").replace("promised by no", "by no") for line in meanings]
    meaning = MEANING.format(interval=SPREAD if RESPLITS in rows else "95 % interval")
    return "\n\n".join([*parts, meaning, "\n".join(meanings)]) + "\n"


MEANING = (
    "Single latents, by what theory promises of them. First the gain: by how much the score exceeds that of the best floor on the latents of the same "
    "cell and promise, mean over data seeds with its {interval}. Then the score (absolute Spearman correlation with the matched estimate, test), "
    f"and the part of the latents that score above {RECOVERED}; in brackets, where fewer trials than another method's are ok, how many latents there "
    "are. Bold: theory promises that what the method assumes suffices for all of these latents. Latents are averaged over the numbers of domains, and "
    "apart for each kind of data, between which the numbers of their children differ."
)


def _table(rows: pd.DataFrame) -> str:
    promises = [promise for promise in PROMISES if promise in set(rows["promise"])]
    most = rows.groupby("promise")["n_latents"].max()
    lines = []
    for (label, assumes), own in rows.groupby(["label", "assumes"], sort=False):
        entries = {row["promise"]: _entry(row, most[row["promise"]]) for _, row in own.iterrows()}
        lines.append(
            {"method": markdown(label), "assumes": markdown(assumes)}
            | {each: entries.get(each, "–") for each in promises}
        )
    return tabulate(lines, "keys", tablefmt="pipe", disable_numparse=True)


def _entry(row: pd.Series, most: int) -> str:
    gain, score = difference_text(row, "gain"), number(row["score"])
    texts = [gain, score] if gain else [with_interval(row["score"], row["score_low"], row["score_high"])]
    count = f" ({row['n_latents']})" if row["n_latents"] < most else ""
    text = " \\| ".join([*texts, f"{100 * row['recovered']:.0f} %"])
    return (f"**{text}**" if row["promised"] == 1 else text) + count
