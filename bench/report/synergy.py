"""Does using both assumptions beat using the better one alone? Per ladder of methods: a row per cell, and a sentence.

A ladder is four methods that differ only in what they assume, its corners; each method says of which ladder it is which. Its synergy
effect in a cell is the smaller of two paired differences, `both - changes` and `both - sparsity`, which is `both - max(changes, sparsity)`
of the means; it is above 0 only if both differences are. Its interaction is `both - changes - sparsity + neither`. Both are on the scale
of the score and on the logit scale, since a score with a ceiling fakes a negative interaction near it. `bench.scores.statistics` has the
intervals; docs/statistics.md has the definitions.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.registry import CORNERS
from bench.report.power import LEVEL, POWER, needed_seeds
from bench.report.results import (
    COUNTED,
    HEADLINE_NAME,
    STRATUM,
    Results,
    by_value,
    is_failed,
    once,
    score_array,
    varying,
)
from bench.report.texts import difference_text, number, p_text, place_text, value_text
from bench.run.store import write_text
from bench.scores import HEADLINE, statistics
from bench.text import count, csv_text, markdown

QUANTITIES = {
    "effect": "synergy effect, both - max(changes, sparsity)",
    "interaction": "interaction, both - changes - sparsity + neither",
    "logit_effect": "synergy effect on the logit scale",
    "logit_interaction": "interaction on the logit scale",
}
FEW = 5  # data seeds: fewer show that something works, and no more
CELL, ALL = "cell", "all"  # the scopes of rows, beside STRATUM
POWERED = f"{POWER:.0%} power, two-sided {LEVEL:.0%}, paired t-test".replace("%", " %")
NEEDED = ("changes", "sparsity", "both")  # the corners without which there is no effect


def ladders(results: Results) -> dict[str, dict[str, str]]:
    """The ladders of which a method that assumes both has trials, in alphabetical order: the method at each corner that is known.

    Of two methods that say they are one corner, the one with trials is. None where no true latents are known, by which they are judged.
    """
    if results.lacks_truth or results.headline.name != HEADLINE:
        return {}
    found: dict[str, dict[str, str]] = {}
    present = set(results.settings["method"])
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
    present = set(results.settings["method"])
    for name, ladder in ladders(results).items():
        unknown = [f"{corner} alone" for corner in NEEDED if corner not in ladder]
        missing = [ladder[corner] for corner in NEEDED if corner in ladder and ladder[corner] not in present]
        rivals = [
            f"{method} and {ladder[facts.corner]} both say that they assume {facts.corner}"
            for method, facts in sorted(results.methods.items())
            if facts.ladder == name and method in present and ladder[facts.corner] != method
        ]
        settings = _settings(_ranked(results.settings, ladder.values()), results.method_fields)
        if results.resplit:
            found[name] = "all data seeds are re-splits of one data set, which are no evidence about new data"
        elif unknown:
            found[name] = f"no method of it assumes {' or '.join(unknown)}"
        elif missing:
            found[name] = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in the run"
        elif rivals:
            found[name] = f"{rivals[0]}: choose one with --where"
        elif settings:
            found[name] = f"there are several settings of {', '.join(sorted(settings))}: choose one with --where"
    return found


def _ranked(trials: pd.DataFrame, methods: Collection[str]) -> pd.DataFrame:
    """The trials of some methods, those of an oracle left out."""
    return trials[trials["method"].isin(list(methods)) & (trials["role"] == "method")]


@once
def table(results: Results, by: Sequence[str] | None = None, score: str = HEADLINE) -> pd.DataFrame:
    """One row per ladder and cell (scope "cell"), one over each stratum (scope "stratum"), one over all cells (scope "all").

    It is empty if no ladder can be judged. Cells are told apart by the columns `by`: all fields that vary and the stratum, unless given;
    what is not in it is averaged over within each data seed, and without the stratum in it there are no rows of strata. Columns: ladder,
    scope, those of `by`, stratum first; n_seeds and n_failed; the mean score of each corner (neither, changes, sparsity, both);
    over_changes and over_sparsity, the two paired differences, and each of `QUANTITIES`, with Q_low and Q_high, the ends of the 95 %
    interval; p and p_wilcoxon, the greater of those of the two differences by the bootstrap and by Wilcoxon's test; needed_seeds, how many data
    seeds a paired t-test needs to see both differences (`bench.report.power`); p_holm and p_wilcoxon_holm, corrected over the cells of the
    ladder, or over its strata; claimed.

    An effect is claimed where the lower ends of both differences exceed 0, and, in a cell or a stratum, `p_holm` is below 0.05.
    """
    refused = obstacles(results)
    parts = []
    for name, ladder in ladders(results).items():
        if name not in refused:
            shared = _shared_dials(results, ladder.values())
            columns = ["method", "role", "seed", score, STRATUM, *results.cells, *shared, *(by or ()), *COUNTED]
            own = _ranked(results.trials[[*dict.fromkeys(columns)]], ladder.values())
            fields = [*results.cells, *shared, *varying(own, [STRATUM])] if by is None else list(by)
            parts.append(_ladder_rows(name, ladder, own, fields, score))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["ladder", "scope"])


def _settings(trials: pd.DataFrame, fields: Sequence[str]) -> set[str]:
    """The methods that have several settings of their own, each with the field that differs, as "synergy-vae (alpha)"."""
    shared = _shared(trials, fields)
    return {
        f"{method} ({field})"
        for method, rows in trials.groupby("method")
        for field in varying(rows, fields)
        if field not in shared
    }


def _shared(trials: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    """Those of `fields` that take the same values in every method of the ladder that is there: they make cells, not settings."""
    values = [rows for _, rows in trials.groupby("method")]
    return [f for f in fields if len({frozenset(map(value_text, rows[f].unique())) for rows in values}) == 1]


def _shared_dials(results: Results, methods: Collection[str]) -> list[str]:
    """The fields of some methods that vary, and take the same values in each of them."""
    own = _ranked(results.settings, methods)
    return varying(own, _shared(own, results.method_fields))


def _ladder_rows(
    name: str, ladder: Mapping[str, str], trials: pd.DataFrame, fields: list[str], score: str
) -> pd.DataFrame:
    own = score_array(trials, fields, score, label="method")
    raw = _corners(own.values, own.labels, ladder)
    strata = own.cells[STRATUM] if STRATUM in fields else pd.Series(dtype=object)
    groups = {each: np.flatnonzero(strata == each) for each in sorted(strata.dropna().unique())}
    places = own.cells.assign(ladder=name, scope=CELL)
    wider = pd.DataFrame({"ladder": name, "scope": [*[STRATUM] * len(groups), ALL], STRATUM: [*groups, None]})
    first = ["ladder", "scope", *[STRATUM] * (STRATUM in fields)]
    columns = [*first, *(field for field in fields if field != STRATUM)]
    rows = pd.concat([places, wider], ignore_index=True)[columns]

    members = [*groups.values(), np.arange(len(own.cells))]
    scales = {"": _differences(raw, members), "logit_": _differences(statistics.logit(raw), members)}
    rows["n_seeds"] = (~np.isnan(scales[""][0])).sum(axis=0)
    n_failed = np.array(_failures(trials, own.cells, fields))
    rows["n_failed"] = [*n_failed, *(n_failed[each].sum() for each in members)]
    for corner, values in zip(CORNERS, _with_means(raw, members), strict=True):
        rows[corner] = statistics.mean_along(values, 0)[0]
    for prefix, differences in scales.items():
        found = statistics.mean_interval(differences)
        _put(rows, f"{prefix}interaction", found.mean[2], found.low[2], found.high[2])
        _put(rows, f"{prefix}effect", *_smaller(statistics.Interval(*(each[:2] for each in found))))
        if not prefix:
            for place, corner in enumerate(("changes", "sparsity")):
                _put(rows, f"over_{corner}", found.mean[place], found.low[place], found.high[place])
            rows = rows.assign(**_tests(differences[:2], statistics.Interval(*(each[:2] for each in found))))
    for test in ("p", "p_wilcoxon"):
        rows[f"{test}_holm"] = np.nan
        for scope in (CELL, STRATUM):
            is_own = rows["scope"] == scope
            rows.loc[is_own, f"{test}_holm"] = statistics.holm(rows.loc[is_own, test].to_numpy(float))
    rows["claimed"] = (rows["effect_low"] > 0) & ((rows["p_holm"] < 1 - statistics.LEVEL) | (rows["scope"] == ALL))
    return rows


def _smaller(found: statistics.Interval) -> tuple[np.ndarray, ...]:
    """The smallest of several mean differences, (n_differences, n_cells), and its interval.

    The smallest of the means lies between the smallest of their lower and the smallest of their upper ends at least as surely.
    """
    return tuple(each.min(axis=0) for each in (found.mean, found.low, found.high))


def _tests(differences: np.ndarray, found: statistics.Interval) -> dict[str, np.ndarray]:
    """p, p_wilcoxon and needed_seeds, (n_cells,) each, of the smallest of `differences` (n_differences, n_seeds, n_cells).

    It is above 0 only if all are, so each of the three is the greatest of those of the differences; the p are 1 where a mean is not above 0.
    """
    is_gain, unknown = (found.mean > 0).all(axis=0), np.isnan(found.p).any(axis=0)
    wilcoxon = statistics.wilcoxon(differences, np.zeros_like(differences))
    tests = {"p": found.p.max(axis=0), "p_wilcoxon": wilcoxon.max(axis=0)}
    tests = {name: np.where(unknown, np.nan, np.where(is_gain, p, 1.0)) for name, p in tests.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cells without two seeds, whose deviation is NaN
        deviation = np.nanstd(differences, axis=-2, ddof=1)
    return tests | {"needed_seeds": needed_seeds(found.mean, deviation).max(axis=0)}


def _put(rows: pd.DataFrame, name: str, mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    rows[[name, f"{name}_low", f"{name}_high"]] = np.stack([mean, low, high], axis=1)


def _corners(values: np.ndarray, labels: list[str], ladder: Mapping[str, str]) -> np.ndarray:
    """(4, n_seeds, n_cells) in the order of `CORNERS`, NaN for a method that is not there."""
    nothing = np.full(values.shape[1:], np.nan)
    methods = [ladder.get(corner) for corner in CORNERS]
    return np.stack([values[labels.index(method)] if method in labels else nothing for method in methods])


def _differences(corners: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """both - changes, both - sparsity and the interaction, (3, n_seeds, n_cells + n_groups): of each cell, then their means over groups.

    The two differences are of the same seeds: those with a score of all three methods.
    """
    neither, changes, sparsity, both = corners
    complete = np.where(np.isnan(changes + sparsity), np.nan, both)
    differences = np.stack([complete - changes, complete - sparsity, both - changes - sparsity + neither])
    return _with_means(differences, groups)


def _with_means(values: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """`values` (..., n_cells) followed by their means over each of `groups` of cells."""
    return np.concatenate([values, *(statistics.mean_along(values[..., each], -1) for each in groups)], axis=-1)


def _failures(trials: pd.DataFrame, places: pd.DataFrame, fields: list[str]) -> list[int]:
    texts = pd.DataFrame({f: by_value(trials[f], value_text) for f in fields}, trials.index).assign(
        failed=is_failed(trials).to_numpy()
    )
    counts = texts.groupby(fields)["failed"].sum() if fields else {(): int(texts["failed"].sum())}
    keys = [tuple(map(value_text, row)) for row in places[fields].itertuples(index=False)]
    return [int(counts[key[0] if len(key) == 1 else key]) for key in keys]


UNIT = "MCC"  # of the headline score, in a sentence
BEATS = "using both assumptions beats the better single one"


def verdicts(results: Results, rows: pd.DataFrame) -> list[str]:
    """What the `table` of `results` says in plain sentences: per ladder one for each stratum, then one over all cells.

    They say "no evidence" where that is it, and how many data seeds the effect would take to show. One more sentence follows where a
    ladder on the same backbone has another method that assumes changes alone.
    """
    refused, found = obstacles(results), []
    for name, ladder in ladders(results).items():
        own = rows[rows["ladder"] == name]
        if name in refused:
            found.append(f"{name} ladder: synergy cannot be judged, since {refused[name]}.")
            continue
        if own[own["scope"] == ALL]["n_seeds"].iloc[0] >= 2:
            found += [_stratum_verdict(name, row) for _, row in own[own["scope"] == STRATUM].iterrows()]
        found.append(_verdict(name, ladder, own))
        found += _rivals_verdict(results, name, ladder)
    return found


def in_short(results: Results) -> str:
    """For a reader who knows no ladder: do both assumptions beat the better single one, on average, and at which numbers of domains?

    Of several ladders, the one whose method of both scores best; nothing where none can be judged.
    """
    rows = table(results)
    judged = rows[rows["scope"] == ALL]
    judged = judged[judged["n_seeds"] >= 2] if len(judged) else judged
    if judged.empty:
        return ""
    overall = judged.loc[judged["both"].astype(float).idxmax()]
    ladder = ladders(results)[overall["ladder"]]
    rows = table(results, by=["domains"]) if "domains" in results.cells else rows[:0]
    own = rows[(rows["ladder"] == overall["ladder"]) & (rows["scope"] == CELL)]
    using = f"sing both assumptions, changes between domains and sparse mixing ({ladder['both']}),"
    single = f"the better single one ({ladder['changes']} or {ladder['sparsity']})"
    numbers = [value_text(value) for value in own.get("domains", [])]
    several, span = len(numbers) > 1, f"{numbers[0]} to {numbers[-1]}" if numbers else ""
    at = own[own["claimed"]] if several else own[:0]
    gains = [f"{value_text(row['domains'])} (+{number(row['effect'])})" for row in at.to_dict("records")]
    where = f"at {_and(gains)} domains" if gains else ""
    compared = f" Of {len(judged)} such sets of methods, this is the one that scores best." if len(judged) > 1 else ""
    if overall["claimed"]:
        alone = (
            f"At each of the {len(numbers)} numbers of domains against the one that is better there, tested together: "
        )
        alone += f"{_and(gains)}." if gains else f"at none ({span})."
        rest = f" on average. {alone}" if several else "."
        return f"U{using} beats {single} by {_gain(overall)}{rest}{_hedge(overall)}{compared}"
    if where:
        rest = f"on average over {span} domains there is no evidence of it: {_difference(overall)}"
        return f"U{using} beats {single} {where}; {rest}.{_hedge(overall)}{compared}"
    if overall["effect_high"] < 0:
        return f"U{using} scores below {single}: {_difference(overall)}{' on average' * several}.{compared}"
    rest = f" on average, and none at any number of domains ({span})" if several else ""
    return f"There is no evidence that u{using} beats {single}: {_difference(overall)}{rest}.{compared}"


def _hedge(row: pd.Series) -> str:
    n_seeds = int(row["n_seeds"])
    return f" {n_seeds} data seeds are a first impression, and too few to rest on." if n_seeds < FEW else ""


def _and(words: Sequence[str]) -> str:
    """Words as a list in a sentence: "2, 3 and 4"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _stratum_verdict(name: str, row: pd.Series) -> str:
    start = f"{name} ladder, {row[STRATUM]}:"
    if row["claimed"]:
        return f"{start} {BEATS} by {_gain(row)} ({_tested(row)})."
    return f"{start} {_no_evidence(row)} ({_tested(row)}); {_needed(row)}."


def _gain(row: Mapping[str, Any] | pd.Series) -> str:
    """A difference above 0 with its interval, as ".039 MCC [.018, .079]"."""
    return _difference(row).removeprefix("+")


def _difference(row: Mapping[str, Any] | pd.Series) -> str:
    """A difference with its sign and interval, as "+.039 MCC [.018, .079]"."""
    return difference_text(row, "effect").replace(" [", f" {UNIT} [", 1)


def _no_evidence(row: Mapping[str, Any] | pd.Series) -> str:
    if row["effect_high"] < 0:
        return f"using both assumptions scores below the better single one: {_difference(row)}"
    return f"no evidence that {BEATS}: {_difference(row)}"


def _tested(row: Mapping[str, Any] | pd.Series) -> str:
    """The p of both tests, corrected where they are one of several."""
    ends = _ends(row)
    word = "corrected p" if ends else "p"
    return f"{word} {p_text(row['p' + ends])}, by Wilcoxon {p_text(row['p_wilcoxon' + ends])}"


def _ends(row: Mapping[str, Any] | pd.Series) -> str:
    """How the columns of a row's p end: those of one of several cells or strata are corrected."""
    return "" if row["scope"] == ALL else "_holm"


def _needed(row: pd.Series) -> str:
    if np.isinf(row["needed_seeds"]):
        return "no number of data seeds would show an effect that is not above 0"
    return f"an effect of this size takes about {row['needed_seeds']:.0f} data seeds to show"


def _verdict(name: str, ladder: Mapping[str, str], rows: pd.DataFrame) -> str:
    """A sentence of what was found, then one of what was compared, and how."""
    own, overall = rows[rows["scope"] == CELL], rows[rows["scope"] == ALL].iloc[0]
    claimed, n_cells = own[own["claimed"]], len(own)
    start, n_seeds = f"{name} ladder", int(overall["n_seeds"])
    if n_seeds < 2:
        return f"{start}: synergy cannot be judged from {n_seeds or 'no'} data seed{'' if n_seeds == 1 else 's'}."
    where = f"averaged over {n_cells} cells"
    at = f", {where}" if n_cells > 1 else f" at {_cell_in_words(own.iloc[0]) or 'the one cell'}"
    most = ""
    if len(claimed):
        best = claimed.loc[claimed["effect"].idxmax()]
        most = f"{'most ' if len(claimed) > 1 else ''}at {_cell_in_words(best)}, by {_gain(best)}"
    in_cells = f"; on its own in {len(claimed)} of {n_cells} cells, {most}" if most else "; in no cell on its own"
    needed = ""
    if overall["claimed"]:
        text = f"{BEATS} by {_gain(overall)}{at}{in_cells * (n_cells > 1)}"
    elif most and n_cells > 1:
        text = f"{BEATS} in {len(claimed)} of {n_cells} cells, {most}; {where}, there is no evidence of it, {_difference(overall)}"
    else:
        text = f"{_no_evidence(overall)}{at}{in_cells * (n_cells > 1)}"
        needed = f" {_needed(overall)[0].upper()}{_needed(overall)[1:]} ({POWERED})."
    compared = (
        f"{ladder['both']} against the better of {ladder['changes']} and {ladder['sparsity']}: {_tested(overall)}"
    )
    if not np.isnan(overall["interaction"]):
        logit = difference_text(overall, "logit_interaction", 2)
        compared += f"; interaction {difference_text(overall, 'interaction')}, on the logit scale {logit}"
    n_failed = overall["n_failed"]
    failed = f"; {n_failed} trial{'s that failed are' if n_failed > 1 else ' that failed is'} in no difference"
    return f"{start}: {text}. {compared}; {n_seeds} data seeds{', too few to rest on' * (n_seeds < FEW)}{failed if n_failed else ''}.{needed}"


def _rivals_verdict(results: Results, name: str, ladder: Mapping[str, str]) -> list[str]:
    """How the method of both compares with the best that assumes changes alone, of all ladders of its family that are in the run.

    Nothing where its own ladder has the only one, or where one of them has several settings. The rule is that of the synergy effect: the
    smallest of the differences to each.
    """
    both = ladder["both"]
    family = results.methods[both].family
    present = set(results.settings["method"])
    rivals = [
        method
        for method, facts in sorted(results.methods.items())
        if family and facts.family == family and facts.ladder and facts.corner == "changes" and method in present
    ]
    asked = [both, *rivals]
    if set(rivals) <= {ladder["changes"]} or _settings(_ranked(results.settings, asked), results.method_fields):
        return []
    fields = [*results.cells, *_shared_dials(results, asked)]
    own = _ranked(results.trials[[*dict.fromkeys(["method", "role", "seed", *fields, *COUNTED])]], asked)
    found = score_array(own, fields, label="method")
    scores = dict(zip(found.labels, found.values, strict=True))
    complete = np.where(np.isnan(sum(scores.values())), np.nan, scores[both])
    differences = statistics.mean_along(np.stack([complete - scores[rival] for rival in rivals]), -1)
    interval = statistics.mean_interval(differences)
    if np.isnan(interval.p).any():
        return []
    ends = dict(zip(("effect", "effect_low", "effect_high"), (each[0] for each in _smaller(interval)), strict=True))
    tests = {test: values[0] for test, values in _tests(differences, interval).items()}
    row = ends | tests | {"scope": ALL}
    against = f"the best method that assumes changes alone, of {' and '.join(rivals)}"
    if row["effect_low"] > 0:
        return [f"{name} ladder: {both} beats {against}, by {_gain(row)} ({_tested(row)})."]
    if row["effect_high"] < 0:
        return [f"{name} ladder: {both} scores below {against}: {_difference(row)} ({_tested(row)})."]
    return [f"{name} ladder: no evidence that {both} beats {against}: {_difference(row)} ({_tested(row)})."]


def _cell(row: pd.Series) -> str:
    """The cell of a row of `table`, as "domains=3, violation=0.5"."""
    return place_text(row.iloc[2 : row.index.get_loc("n_seeds")].drop(STRATUM, errors="ignore"))


def _cell_in_words(row: pd.Series) -> str:
    """The same in a sentence, as "3 domains, violation=0.5"."""
    return re.sub(r"^domains=(\d+)", lambda found: count(int(found[1]), "domain"), _cell(row))


def write(results: Results, folder: Path) -> list[str]:
    """synergy.md and synergy.csv in `folder`, and the verdicts; neither file if no ladder's method of both has trials."""
    rows = table(results)
    sentences = verdicts(results, rows)
    if sentences:
        write_text(folder / "synergy.csv", csv_text(rows))
        write_text(folder / "synergy.md", _markdown(ladders(results), rows, sentences))
    return sentences


MEANING = (
    "Effect: the smaller of `both - changes` and `both - sparsity`, paired by data seed, with its 95 % interval. Interaction: `both - "
    "changes - sparsity + neither`. p: the greater p of the two differences, by the bootstrap and by Wilcoxon's signed-rank test, with Holm's "
    "correction over the cells of the ladder, or over its strata. Claimed: both lower ends exceed 0, and in a cell or a stratum the first p is "
    f"below 0.05. Seeds to show: the data seeds that it takes to see an effect of this size ({POWERED}). Scores: {HEADLINE_NAME}, test."
)


def _markdown(known: Mapping[str, Mapping[str, str]], rows: pd.DataFrame, sentences: list[str]) -> str:
    parts = ["# Synergy effect", "\n".join(f"- {markdown(sentence)}" for sentence in sentences)]
    for name, own in rows.groupby("ladder", sort=False):
        lines = []
        for _, row in own.iterrows():
            ends = _ends(row)
            lines.append(
                {"cell": _place(row)}
                | {corner: number(row[corner]) or "–" for corner in CORNERS}
                | {"effect": difference_text(row, "effect"), "p": p_text(row["p" + ends])}
                | {"p, Wilcoxon": p_text(row["p_wilcoxon" + ends]), "claimed": "yes" if row["claimed"] else ""}
                | {word: difference_text(row, key, digits) for word, key, digits in _SHOWN}
                | {"seeds": row["n_seeds"], "failed": row["n_failed"], "seeds to show": _count(row["needed_seeds"])}
            )
        parts += [f"## {markdown(str(name))} ladder: {markdown(', '.join(known[str(name)].values()))}"]
        parts += [tabulate(lines, "keys", tablefmt="pipe", disable_numparse=True)]
    return "\n\n".join([*parts, *[MEANING] * bool(len(rows))]) + "\n"


def _place(row: pd.Series) -> str:
    if row["scope"] == CELL:
        return markdown(_cell(row)) or "the one cell"
    return f"**{markdown(row[STRATUM])}**" if row["scope"] == STRATUM else "**all cells**"


def _count(seeds: float) -> str:
    return "" if np.isnan(seeds) else "none" if np.isinf(seeds) else f"{seeds:.0f}"


_SHOWN = (
    ("interaction", "interaction", 3),
    ("effect, logit", "logit_effect", 2),
    ("interaction, logit", "logit_interaction", 2),
)
