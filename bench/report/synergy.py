"""Does using both assumptions beat using the better one alone? Per ladder of methods: a row per cell, and a sentence.

A ladder is four methods that differ only in what they assume, its corners; each method says of which ladder it is which. Its synergy
effect in a cell is the smaller of two paired differences, `both - changes` and `both - sparsity`, which is `both - max(changes, sparsity)`
of the means; it is above 0 only if both differences are. Its interaction is `both - changes - sparsity + neither`. Both are on the scale
of the score and on the logit scale, since a score with a ceiling fakes a negative interaction near it. `bench.scores.statistics` has the
intervals; docs/statistics.md has the definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.registry import CORNERS
from bench.report.results import HEADLINE_NAME, Results, is_failed, score_array, varying
from bench.report.texts import difference_text, number, p_text, place_text, value_text
from bench.run.store import write_text
from bench.scores import HEADLINE, statistics

QUANTITIES = {
    "effect": "synergy effect, both - max(changes, sparsity)",
    "interaction": "interaction, both - changes - sparsity + neither",
    "logit_effect": "synergy effect on the logit scale",
    "logit_interaction": "interaction on the logit scale",
}
CELL, ALL = "cell", "all"  # the scopes of rows
NEEDED = ("changes", "sparsity", "both")  # the corners without which there is no effect


def ladders(results: Results) -> dict[str, dict[str, str]]:
    """The ladders of which a method that assumes both has trials, in alphabetical order: the method at each corner that is known.

    Of two methods that say they are one corner, the one with trials is.
    """
    found: dict[str, dict[str, str]] = {}
    present = set(results.trials["method"])
    for name, facts in sorted(results.methods.items(), key=lambda item: (item[0] in present, item[0])):
        if facts.ladder:
            found.setdefault(facts.ladder, {})[facts.corner] = name
    return {
        name: {corner: found[name][corner] for corner in CORNERS if corner in found[name]}
        for name in sorted(found, key=str.lower)
        if found[name].get("both") in present
    }


def obstacles(results: Results) -> dict[str, str]:
    """Why a ladder of `ladders` cannot be judged, in words, by its name."""
    found = {}
    present = set(results.trials["method"])
    for name, ladder in ladders(results).items():
        unknown = [f"{corner} alone" for corner in NEEDED if corner not in ladder]
        missing = [ladder[corner] for corner in NEEDED if corner in ladder and ladder[corner] not in present]
        rivals = [
            f"{method} and {ladder[facts.corner]} both say that they assume {facts.corner}"
            for method, facts in sorted(results.methods.items())
            if facts.ladder == name and method in present and ladder[facts.corner] != method
        ]
        own = results.trials[results.trials["method"].isin(ladder.values())]
        shared = _shared(own, results.method_fields)
        settings = {
            f"{method} ({field})"
            for method, rows in own.groupby("method")
            for field in varying(rows, results.method_fields)
            if field not in shared
        }
        if unknown:
            found[name] = f"no method of it assumes {' or '.join(unknown)}"
        elif missing:
            found[name] = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in the run"
        elif rivals:
            found[name] = f"{rivals[0]}: choose one with --where"
        elif settings:
            found[name] = f"there are several settings of {', '.join(sorted(settings))}: choose one with --where"
    return found


def table(results: Results, by: Sequence[str] | None = None, score: str = HEADLINE) -> pd.DataFrame:
    """One row per ladder and cell (scope "cell"), then one over all its cells (scope "all"); empty if no ladder can be judged.

    Cells are told apart by the columns `by`: all fields that vary, unless given; what is not in it is averaged over within each data
    seed. Columns: ladder, scope, those of `by`; n_seeds and n_failed; the mean score of each corner (neither, changes, sparsity,
    both); over_changes and over_sparsity, the two paired differences, and each of `QUANTITIES`, with Q_low and Q_high, the ends of
    the 95 % interval; p, the greater of those of the two differences, and p_holm, corrected over the cells of the ladder; claimed.

    An effect is claimed where the lower ends of both differences exceed 0, and, in a cell, `p_holm` is below 0.05.
    """
    refused = obstacles(results)
    parts = []
    for name, ladder in ladders(results).items():
        if name not in refused:
            own = results.trials[results.trials["method"].isin(ladder.values())]
            shared = varying(own, _shared(own, results.method_fields))
            fields = [*results.cells, *shared] if by is None else list(by)
            parts.append(_ladder_rows(name, ladder, own, fields, score))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["ladder", "scope"])


def _shared(trials: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    """Those of `fields` that take the same values in every method of the ladder that is there: they make cells, not settings."""
    values = [rows for _, rows in trials.groupby("method")]
    return [f for f in fields if len({frozenset(map(value_text, rows[f].unique())) for rows in values}) == 1]


def _ladder_rows(
    name: str, ladder: Mapping[str, str], trials: pd.DataFrame, fields: list[str], score: str
) -> pd.DataFrame:
    own = score_array(trials, fields, score, label="method")
    raw = _corners(own.values, own.labels, ladder)
    places = own.cells.assign(ladder=name, scope=CELL)
    everything = pd.DataFrame({"ladder": [name], "scope": [ALL]})
    rows = pd.concat([places, everything], ignore_index=True)[["ladder", "scope", *fields]]

    scales = {"": _differences(raw), "logit_": _differences(statistics.logit(raw))}
    rows["n_seeds"] = (~np.isnan(scales[""][0])).sum(axis=0)
    rows["n_failed"] = [*_failures(trials, own.cells, fields), int(is_failed(trials).sum())]
    means = np.concatenate([raw, statistics.mean_along(raw, -1)], axis=-1)
    for corner, values in zip(CORNERS, means, strict=True):
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


def _corners(values: np.ndarray, labels: list[str], ladder: Mapping[str, str]) -> np.ndarray:
    """(4, n_seeds, n_cells) in the order of `CORNERS`, NaN for a method that is not there."""
    nothing = np.full(values.shape[1:], np.nan)
    methods = [ladder.get(corner) for corner in CORNERS]
    return np.stack([values[labels.index(method)] if method in labels else nothing for method in methods])


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


def verdicts(results: Results, rows: pd.DataFrame) -> list[str]:
    """One sentence per ladder, from the `table` of `results`: what the numbers say, "no evidence" where that is it."""
    refused = obstacles(results)
    return [
        f"{name} ladder: synergy cannot be judged, since {refused[name]}."
        if name in refused
        else _verdict(name, ladder, rows[rows["ladder"] == name])
        for name, ladder in ladders(results).items()
    ]


def _verdict(name: str, ladder: Mapping[str, str], rows: pd.DataFrame) -> str:
    own, overall = rows[rows["scope"] == CELL], rows[rows["scope"] == ALL].iloc[0]
    claimed, n_cells = own[own["claimed"]], len(own)
    start, n_seeds = f"{name} ladder", int(overall["n_seeds"])
    if n_seeds < 2:
        return f"{start}: synergy cannot be judged from {n_seeds or 'no'} data seed{'' if n_seeds == 1 else 's'}."
    where = f"averaged over {n_cells} cells" if n_cells > 1 else "on the one cell"
    against = f"{ladder['both']} against the better of {ladder['changes']} and {ladder['sparsity']}"
    size = f"{where}, {against}, {difference_text(overall, 'effect')}"
    in_cells = f"in {len(claimed)} of {n_cells} cells"
    if len(claimed) and n_cells > 1:
        best = claimed.loc[claimed["effect"].idxmax()]
        most = f"{'most at' if len(claimed) > 1 else 'at'} {_cell(best)}, {difference_text(best, 'effect')}"
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
        logit = difference_text(overall, "logit_interaction", 2)
        text += f" (interaction {difference_text(overall, 'interaction')}, on the logit scale {logit})"
    n_failed = overall["n_failed"]
    failed = f"; {n_failed} trial{'s that failed are' if n_failed > 1 else ' that failed is'} in no difference"
    return f"{start}: {text}; {n_seeds} data seeds{failed if n_failed else ''}."


def _cell(row: pd.Series) -> str:
    """The cell of a row of `table`, as "domains=3, violation=0.5"."""
    return place_text(row.iloc[2 : row.index.get_loc("n_seeds")])


def write(results: Results, folder: Path) -> list[str]:
    """synergy.md and synergy.csv in `folder`, and the verdicts; neither file if no ladder's method of both has trials."""
    rows = table(results)
    sentences = verdicts(results, rows)
    if sentences:
        write_text(folder / "synergy.csv", rows.to_csv(index=False))
        write_text(folder / "synergy.md", _markdown(ladders(results), rows, sentences))
    return sentences


MEANING = (
    "Effect: the smaller of `both - changes` and `both - sparsity`, paired by data seed, with its 95 % interval. Interaction: `both - "
    "changes - sparsity + neither`. p: the greater p of the two differences, with Holm's correction over the cells of the ladder. "
    f"Claimed: both lower ends exceed 0, and in a cell p is below 0.05. Scores: {HEADLINE_NAME}, test."
)


def _markdown(known: Mapping[str, Mapping[str, str]], rows: pd.DataFrame, sentences: list[str]) -> str:
    parts = ["# Synergy effect", "\n".join(f"- {sentence}" for sentence in sentences)]
    for name, own in rows.groupby("ladder", sort=False):
        lines = []
        for _, row in own.iterrows():
            is_cell = row["scope"] == CELL
            lines.append(
                {"cell": (_cell(row) or "the one cell") if is_cell else "**all cells**"}
                | {corner: number(row[corner]) or "–" for corner in CORNERS}
                | {"effect": difference_text(row, "effect"), "p": p_text(row["p_holm" if is_cell else "p"])}
                | {"claimed": "yes" if row["claimed"] else ""}
                | {word: difference_text(row, key, digits) for word, key, digits in _SHOWN}
                | {"seeds": row["n_seeds"], "failed": row["n_failed"]}
            )
        parts += [f"## {name} ladder: {', '.join(known[str(name)].values())}"]
        parts += [tabulate(lines, "keys", tablefmt="pipe", disable_numparse=True)]
    return "\n\n".join([*parts, MEANING]) + "\n"


_SHOWN = (
    ("interaction", "interaction", 3),
    ("effect, logit", "logit_effect", 2),
    ("interaction, logit", "logit_interaction", 2),
)
