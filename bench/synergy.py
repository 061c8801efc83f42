"""Does using both assumptions beat using the better one alone? Per ladder of methods: a row per cell, and a sentence.

A ladder is four methods that differ only in what they assume. Its synergy effect in a cell is the smaller of two paired differences,
`both - changes` and `both - sparsity`, which is `both - max(changes, sparsity)` of the means; it is above 0 only if both differences
are. Its interaction is `both - changes - sparsity + neither`. Both are on the scale of the score and on the logit scale, since a score
with a ceiling fakes a negative interaction near it. `bench.statistics` has the intervals; docs/statistics.md has the definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench import statistics
from bench.leaderboard import (
    HEADLINE,
    cells,
    is_failed,
    n_values,
    number,
    p_text,
    place_text,
    score_array,
    value_text,
    with_interval,
)


class Ladder(NamedTuple):
    """The methods that assume neither, sufficient changes, sparse mixing, and both."""

    neither: str
    changes: str
    sparsity: str
    both: str


LADDERS = {
    "VAE": Ladder("vae", "flow-vae", "sparse-vae", "synergy-vae"),
    "GAN": Ladder("gan", "domain-gan", "sparse-gan", "synergy-gan"),
    "flow": Ladder("flow", "domain-flow", "sparse-flow", "synergy-flow"),
}
QUANTITIES = {
    "effect": "synergy effect, both - max(changes, sparsity)",
    "interaction": "interaction, both - changes - sparsity + neither",
    "logit_effect": "synergy effect on the logit scale",
    "logit_interaction": "interaction on the logit scale",
}
CELL, ALL = "cell", "all"  # the scopes of rows


def obstacles(trials: pd.DataFrame, method_fields: Sequence[str]) -> dict[str, str]:
    """Why a ladder of which `trials` hold the method that assumes both cannot be judged, in words, by its name."""
    found = {}
    present = set(trials["method"])
    for name, ladder in LADDERS.items():
        if ladder.both not in present:
            continue
        missing = [method for method in ladder[1:] if method not in present]
        settings = {
            f"{method} ({field})"
            for method in ladder
            for field in _varying(trials[trials["method"] == method], method_fields)
            if field not in _shared(trials, ladder, method_fields)
        }
        if missing:
            found[name] = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in the run"
        elif settings:
            found[name] = f"there are several settings of {', '.join(sorted(settings))}: choose one with --where"
    return found


def table(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    by: Sequence[str] | None = None,
    score: str = HEADLINE,
) -> pd.DataFrame:
    """One row per ladder and cell (scope "cell"), then one over all its cells (scope "all"); empty if no ladder can be judged.

    Cells are told apart by the columns `by`: all fields that vary, unless given; what is not in it is averaged over within each data
    seed. Columns: ladder, scope, those of `by`; n_seeds and n_failed; the mean score of each corner (neither, changes, sparsity,
    both); over_changes and over_sparsity, the two paired differences, and each of `QUANTITIES`, with Q_low and Q_high, the ends of
    the 95 % interval; p, the greater of those of the two differences, and p_holm, corrected over the cells of the ladder; claimed.

    An effect is claimed where the lower ends of both differences exceed 0, and, in a cell, `p_holm` is below 0.05.
    """
    refused = obstacles(trials, method_fields)
    parts = []
    for name, ladder in LADDERS.items():
        if ladder.both in set(trials["method"]) and name not in refused:
            own = trials[trials["method"].isin(ladder)]
            shared = [f for f in _shared(trials, ladder, method_fields) if n_values(own[f]) > 1]
            fields = [*cells(trials, dataset_fields), *shared] if by is None else list(by)
            parts.append(_ladder_rows(name, ladder, own, fields, score))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["ladder", "scope"])


def _varying(rows: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    return [field for field in fields if field in rows and n_values(rows[field]) > 1]


def _shared(trials: pd.DataFrame, ladder: Ladder, fields: Sequence[str]) -> list[str]:
    """Those of `fields` that take the same values in every method of the ladder that is there: they make cells, not settings."""
    values = [rows for method, rows in trials.groupby("method") if method in ladder]
    return [
        f for f in fields if f in trials and len({frozenset(map(value_text, rows[f].unique())) for rows in values}) == 1
    ]


def _ladder_rows(name: str, ladder: Ladder, trials: pd.DataFrame, fields: list[str], score: str) -> pd.DataFrame:
    own = score_array(trials.assign(label=trials["method"]), fields, score)
    raw = _corners(own.values, own.labels, ladder)
    places = own.cells.assign(ladder=name, scope=CELL)
    everything = pd.DataFrame({"ladder": [name], "scope": [ALL]})
    rows = pd.concat([places, everything], ignore_index=True)[["ladder", "scope", *fields]]

    scales = {"": _differences(raw), "logit_": _differences(statistics.logit(raw))}
    rows["n_seeds"] = (~np.isnan(scales[""][0])).sum(axis=0)
    rows["n_failed"] = [*_failures(trials, own.cells, fields), int(is_failed(trials).sum())]
    means = np.concatenate([raw, statistics.mean_along(raw, -1)], axis=-1)
    for corner, values in zip(Ladder._fields, means, strict=True):
        rows[corner] = statistics.mean_along(values, 0)[0]
    for prefix, differences in scales.items():
        found = statistics.mean_interval(differences)
        _put(rows, f"{prefix}interaction", found.mean[2], found.low[2], found.high[2])
        # The smaller of two means lies between the smaller of their lower and the smaller of their upper ends at least as surely.
        _put(rows, f"{prefix}effect", *(ends[:2].min(axis=0) for ends in (found.mean, found.low, found.high)))
        if not prefix:
            for place, corner in enumerate(("changes", "sparsity")):
                _put(rows, f"over_{corner}", found.mean[place], found.low[place], found.high[place])
            rows["p"] = np.where((found.mean[:2] > 0).all(axis=0), found.p[:2].max(axis=0), 1.0)
            rows.loc[np.isnan(found.p[:2]).any(axis=0), "p"] = np.nan
    is_cell = rows["scope"] == CELL
    rows["p_holm"] = np.nan
    rows.loc[is_cell, "p_holm"] = statistics.holm(rows.loc[is_cell, "p"].to_numpy(float))
    rows["claimed"] = (rows["effect_low"] > 0) & ((rows["p_holm"] < 1 - statistics.LEVEL) | ~is_cell)
    return rows


def _put(rows: pd.DataFrame, name: str, mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    rows[[name, f"{name}_low", f"{name}_high"]] = np.stack([mean, low, high], axis=1)


def _corners(values: np.ndarray, labels: list[str], ladder: Ladder) -> np.ndarray:
    """(4, n_seeds, n_cells), NaN for a method that is not there."""
    nothing = np.full(values.shape[1:], np.nan)
    return np.stack([values[labels.index(method)] if method in labels else nothing for method in ladder])


def _differences(corners: np.ndarray) -> np.ndarray:
    """both - changes, both - sparsity and the interaction, (3, n_seeds, n_cells + 1): of each cell, then their mean.

    The two differences are of the same seeds: those with a score of all three methods.
    """
    neither, changes, sparsity, both = corners
    complete = np.where(np.isnan(changes + sparsity), np.nan, both)
    differences = np.stack([complete - changes, complete - sparsity, both - changes - sparsity + neither])
    return np.concatenate([differences, statistics.mean_along(differences, -1)], axis=-1)


def _failures(trials: pd.DataFrame, places: pd.DataFrame, fields: list[str]) -> list[int]:
    texts = trials[fields].map(value_text).assign(failed=is_failed(trials).to_numpy())
    counts = texts.groupby(fields)["failed"].sum() if fields else {(): int(texts["failed"].sum())}
    keys = [tuple(map(value_text, row)) for row in places[fields].itertuples(index=False)]
    return [int(counts[key[0] if len(key) == 1 else key]) for key in keys]


def verdicts(table: pd.DataFrame, obstacles: dict[str, str]) -> list[str]:
    """One sentence per ladder, from its rows in `table`: what the numbers say, "no evidence" where that is it."""
    judged = {name: _verdict(rows) for name, rows in table.groupby("ladder", sort=False)}
    refused = {name: f"{name} ladder: synergy cannot be judged, since {reason}." for name, reason in obstacles.items()}
    return [(judged | refused)[name] for name in LADDERS if name in judged or name in refused]


def _verdict(rows: pd.DataFrame) -> str:
    ladder = LADDERS[rows["ladder"].iloc[0]]
    own, overall = rows[rows["scope"] == CELL], rows[rows["scope"] == ALL].iloc[0]
    claimed, n_cells = own[own["claimed"]], len(own)
    start, n_seeds = f"{rows['ladder'].iloc[0]} ladder", int(overall["n_seeds"])
    if n_seeds < 2:
        return f"{start}: synergy cannot be judged from {n_seeds or 'no'} data seed{'' if n_seeds == 1 else 's'}."
    where = f"averaged over {n_cells} cells" if n_cells > 1 else "on the one cell"
    against = f"{ladder.both} against the better of {ladder.changes} and {ladder.sparsity}"
    size = f"{where}, {against}, {effect_text(overall, 'effect')}"
    in_cells = f"in {len(claimed)} of {n_cells} cells"
    if len(claimed) and n_cells > 1:
        best = claimed.loc[claimed["effect"].idxmax()]
        most = f"{'most at' if len(claimed) > 1 else 'at'} {_cell(best)}, {effect_text(best, 'effect')}"
    if overall["claimed"]:
        text = f"evidence of synergy: {size}"
        if n_cells > 1:
            text += f"; {in_cells} on their own, {most}" if len(claimed) else "; in no cell on its own"
    elif len(claimed) and n_cells > 1:
        text = f"evidence of synergy {in_cells}, {most}; none of it {size}"
    elif overall["effect_high"] < 0:
        text = f"no evidence of synergy, and the combination scores below the better of its parts: {size}"
    else:
        text = f"no evidence of synergy: {size}" + ("; in no cell on its own" if n_cells > 1 else "")
    if not np.isnan(overall["interaction"]):
        logit = effect_text(overall, "logit_interaction", 2)
        text += f" (interaction {effect_text(overall, 'interaction')}, on the logit scale {logit})"
    n_failed = overall["n_failed"]
    failed = f"; {n_failed} trial{'s that failed are' if n_failed > 1 else ' that failed is'} in no difference"
    return f"{start}: {text}; {n_seeds} data seeds{failed if n_failed else ''}."


def _cell(row: pd.Series) -> str:
    """The cell of a row of `table`, as "domains=3, violation=0.5"."""
    return place_text(row.iloc[2 : row.index.get_loc("n_seeds")])


def effect_text(row: pd.Series, name: str, digits: int = 3) -> str:
    """A difference with its sign and interval: "+.031 [.012, .050]"."""
    text = with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits)
    return text if text.startswith("-") else f"+{text}"


def write(
    trials: pd.DataFrame, method_fields: Sequence[str], dataset_fields: Sequence[str], folder: str | Path
) -> list[str]:
    """synergy.md and synergy.csv in `folder`, and the verdicts; neither file if `trials` hold no ladder's method of both."""
    refused = obstacles(trials, method_fields)
    rows = table(trials, method_fields, dataset_fields)
    sentences = verdicts(rows, refused)
    if not sentences:
        return []
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "synergy.csv", index=False)
    (folder / "synergy.md").write_text(_markdown(rows, sentences), encoding="utf-8")
    return sentences


MEANING = (
    "Effect: the smaller of `both - changes` and `both - sparsity`, paired by data seed, with its 95 % interval. Interaction: `both - "
    "changes - sparsity + neither`. p: the greater p of the two differences, with Holm's correction over the cells of the ladder. "
    "Claimed: both lower ends exceed 0, and in a cell p is below 0.05. Scores: MCC (Spearman), test."
)


def _markdown(rows: pd.DataFrame, sentences: list[str]) -> str:
    parts = ["# Synergy effect", "\n".join(f"- {sentence}" for sentence in sentences)]
    for name, own in rows.groupby("ladder", sort=False):
        lines = []
        for _, row in own.iterrows():
            is_cell = row["scope"] == CELL
            lines.append(
                {"cell": (_cell(row) or "the one cell") if is_cell else "**all cells**"}
                | {corner: number(row[corner]) or "–" for corner in Ladder._fields}
                | {"effect": effect_text(row, "effect"), "p": p_text(row["p_holm" if is_cell else "p"])}
                | {"claimed": "yes" if row["claimed"] else ""}
                | {word: effect_text(row, key, digits) for word, key, digits in _SHOWN}
                | {"seeds": row["n_seeds"], "failed": row["n_failed"]}
            )
        parts += [f"## {name} ladder: {', '.join(LADDERS[str(name)])}"]
        parts += [tabulate(lines, "keys", tablefmt="pipe", disable_numparse=True)]
    return "\n\n".join([*parts, MEANING]) + "\n"


_SHOWN = (
    ("interaction", "interaction", 3),
    ("effect, logit", "logit_effect", 2),
    ("interaction, logit", "logit_interaction", 2),
)
