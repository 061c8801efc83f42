"""The leaderboard of a run: one row per method with its scores, their intervals over data seeds, and what did not run.

A score's mean takes the trials that are ok: those of one data seed are averaged first, then the seeds; the interval is over seeds. Every
row says of how many of its trials that was, and a method whose mean covers fewer than another's is marked, since it is not a mean over
the same cells and seeds. `bench.scores` says which scores there are, `bench.scores.statistics` has the statistics.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tabulate import MIN_PADDING, SEPARATING_LINE, tabulate

from bench.registry import ROLES, UsageError, nearest
from bench.report.results import COUNTED, SPREAD, Results, ScoreArray, once, score_arrays, summary
from bench.report.texts import number, place_text, seconds_text, seeds_text, with_interval
from bench.run import submissions
from bench.run.store import ARCHIVE, write_text
from bench.scores import Score, is_own
from bench.scores.statistics import interquartile_mean, interval_name, mean_along, mean_interval
from bench.statuses import OK
from bench.text import count, csv_text, markdown, one_line

WIDTH, GAP = 80, 2  # letters of a line of a terminal, and between two columns
LONGEST_NAME = 28  # on one line
MARK = "†"
MARK_MEANING = "mean over fewer trials than another row's (see ok): not the same cells and seeds"

NO_RANKS = "without ranks, since the true latents are not known"
WITHOUT_TRUTH = {  # what a score says of data whose latents are not known
    "objective": "Objective: on validation, the lower the better among the settings of one method; it compares no two methods.",
    "agreement": "Agreement: of restarts that fit equally well; below 1 the data leave the latents open, and at 1 they can still be wrong.",
    "recon_nmse": "NMSE: the part of the data's variance that is lost in reconstruction, which says nothing of the latents.",
}
TIE = 0.01  # of a score: a difference that no paper would rest on
TIES = (
    "Bold: the best mean of a method. Underlined: as good as that one within "
    f"{number(TIE, 2)}, the farthest that the 95 % interval of their paired difference reaches; only of scores with bounds, where higher is better. What differs significantly is in comparisons.md."
)
NO_TIES = "Bold: the highest mean (or the lowest, where lower is better), which is no evidence that the method is better on new data."
RESPLIT = (
    "Data seeds are re-splits of one data set: their spread says nothing of new data, so there is no confidence interval, no test and no "
    "verdict."
)


def ties(results: Results) -> str:
    """What bold and underlined scores mean."""
    return NO_TIES if results.resplit else TIES


def pessimistic(results: Results) -> pd.Series:
    """The headline score, of a trial that failed the lowest one of any floor on the same cell and data seed, or 0; else NaN."""
    trials = results.trials
    place = trials.groupby(["dataset", *results.dataset_fields, "seed"], dropna=False).ngroup()
    own = trials[results.headline.name].where(results.ok)
    floors = own[trials["role"] == "floor"].groupby(place).min()
    return own.mask(results.failed, place.map(floors).fillna(0.0))


@once
def boards(results: Results, by: Sequence[str] = ()) -> dict[str, pd.DataFrame]:
    """The `table` of each combination of values of the columns `by`, named as "violation=0.5"; without `by` one, named ""."""
    lowest = pessimistic(results)
    if not by:
        return {"": _table(results, lowest)}
    found = {}
    for values, part in results.trials.groupby(list(by), dropna=False):
        place = dict(zip(by, values, strict=True))
        found[place_text(place)] = _table(results.replaced(part), lowest[part.index]).assign(**place)
    return found


def table(results: Results) -> pd.DataFrame:
    """One row per label: methods from the best mean headline score to the worst, then the ceiling, then the floors.

    Columns: rank (of methods with a score; ties share the better rank), label, method, role, those of `summary` for all scores;
    S_best and S_tied for each shown score S (of the methods, the best to three digits, and those that are equivalent to it: the 95 %
    interval of their paired difference ends within `TIE`); iqm, the interquartile mean of the headline score over all trials, and pessimistic, its
    mean with failures counted as the floor; train_s (seconds, mean over the ok trials), comparable (False: the mean covers fewer trials
    than another row has), and reason, the most common one for which trials failed.
    """
    return boards(results)[""]


def _table(results: Results, lowest: pd.Series) -> pd.DataFrame:
    """`lowest` are the pessimistic scores of the trials, in their order."""
    trials, shown, headline = results.trials, results.shown(), results.headline.name
    ok = trials.loc[results.ok, ["label", headline, "train_s"]]
    others = [score for name, score in results.scores.items() if name not in shown and not score.per_latent]
    rows = summary(trials, ["label", "method", "role"], [*shown.values(), *others])
    is_known = not results.lacks_truth  # else the headline score says nothing that methods could be ranked by
    rows["iqm"] = rows["label"].map(
        ok.groupby("label")[headline].agg(lambda own: interquartile_mean(own.to_numpy(), axis=0))
    )
    by_seed = lowest.set_axis(trials.index).groupby([trials["label"], trials["seed"]]).mean()
    rows["pessimistic"] = rows["label"].map(by_seed.groupby("label").mean())
    if not is_known:
        rows[["iqm", "pessimistic"]] = np.nan
    rows["train_s"] = rows["label"].map(ok.groupby("label")["train_s"].mean())
    rows["comparable"] = rows["n_ok"] == rows["n_trials"].max()
    reasons = {label: _reason(group) for label, group in trials[results.failed].groupby("label")}
    rows["reason"] = rows["label"].map(reasons)
    best = {f"{score.name}_best": _best(rows, score) & is_known for score in shown.values()}
    is_tied = _tied(rows, results, list(shown.values()))
    tied = {f"{name}_tied": is_tied[name] & ~best[f"{name}_best"] for name in shown}
    ranked = rows[headline].where((rows["role"] == "method") & is_known).rank(method="min", ascending=False)
    flags = [pd.Series(flag, name=name) for name, flag in (best | tied).items()]
    order = rows["role"].map(ROLES.index).rename("order")
    rows = pd.concat([ranked.astype("Int64").rename("rank"), rows, *flags, order], axis=1)
    rows = rows.sort_values(["order", headline, "label"], ascending=[True, False, True])
    if results.lacks_truth:  # of one method the best objective first, which compares nothing else
        rows = rows[~rows["label"].isin(_without_score(results))].sort_values(["order", "method", "objective", "label"])
    return rows.drop(columns="order").reset_index(drop=True)


def _without_score(results: Results) -> list[str]:
    """Of data without truth, the labels that no table needs to list: no trial of theirs has a score, and none failed."""
    trials = results.trials
    if not results.lacks_truth:
        return []
    has_score = trials[list(results.shown())].notna().any(axis=1) | results.failed
    return sorted(set(trials["label"]) - set(trials.loc[has_score, "label"]))


def _best(rows: pd.DataFrame, score: Score) -> pd.Series:
    if not score.heading:  # it does not compare one method with another
        return pd.Series(False, rows.index)
    values = rows[score.name].where(rows["role"] == "method").round(3)
    return values == (values.min() if score.lower_is_better else values.max())


def _tied(rows: pd.DataFrame, results: Results, scores: Sequence[Score]) -> dict[str, pd.Series]:
    """By score, which methods are as good as the best within `TIE`, by the paired difference on the data seeds and cells of both.

    None for a score of which `TIE` is not known to be little: one without bounds, or one that is better the lower it is.
    """
    is_method = rows["role"] == "method"
    compared = [
        score
        for score in scores
        if score.heading
        and score.bounded
        and not score.lower_is_better
        and rows.loc[is_method, score.name].notna().any()
    ]
    none = {score.name: pd.Series(False, rows.index) for score in scores}
    own = results.trials["role"] == "method"
    if not compared or results.resplit:
        return none
    columns = [*results.cells, *(score.name for score in compared), "label", "seed", *COUNTED]
    trials = results.trials.loc[own, [*dict.fromkeys(columns)]]
    arrays = score_arrays(trials, results.cells, [score.name for score in compared])
    return none | {score.name: _tied_by(rows, arrays[score.name], score.name) for score in compared}


def _tied_by(rows: pd.DataFrame, found: ScoreArray, score: str) -> pd.Series:
    best = rows.set_index("label").loc[found.labels, score].to_numpy(float)
    first = np.nanargmax(best)
    difference = mean_along(found.values[first] - found.values, -1)
    _, low, high, _ = mean_interval(np.delete(difference, first, axis=0))
    is_tied = (low > -TIE) & (high < TIE)
    tied = dict(zip(np.delete(found.labels, first), is_tied.ravel(), strict=True))
    return rows["label"].map(lambda label: bool(tied.get(label, False)))


def _reason(failed: pd.DataFrame) -> str:
    errors = failed["error"].where(failed["error"].notna(), failed["status"]).replace(OK, "no score")
    last_lines = errors.astype(str).map(lambda error: (error.strip().splitlines() or [""])[-1])
    return last_lines.value_counts(sort=True).index[0]


def render(table: pd.DataFrame, results: Results) -> str:
    """The table for a terminal: means with their interval, and below it what must be known to read it."""
    columns, left_out = _narrowed(_columns(table, results, "terminal"), results.headline.name)
    body: list[list[str] | str] = []
    for _, group in itertools.groupby(zip(table["role"], _rows(columns), strict=True), key=lambda pair: pair[0]):
        body += [SEPARATING_LINE] * bool(body) + [row for _, row in group]
    headers = ["\n".join(column.heading) for column in columns.values()]
    align = ["right" if name == "rank" else "left" for name in columns]
    text = tabulate(body, headers, tablefmt="simple", disable_numparse=True, colalign=align)
    return "\n".join([text, "", *notes(table, results), *left_out])


def _narrowed(columns: dict[str, Column], headline: str) -> tuple[dict[str, Column], list[str]]:
    """The columns that `WIDTH` letters have room for, long names on several lines, and a sentence that names the others.

    That of failures always goes, since that of ok trials tells as much; then this project's scores, the last first,
    and those of plug-ins at the very end; the headline stays.
    """
    methods = columns["method"]
    columns = {name: column for name, column in columns.items() if name != "failed"}
    columns |= {"method": methods._replace(texts=["\n".join(textwrap.wrap(t, LONGEST_NAME)) for t in methods.texts])}
    scores = [name for name in columns if name not in ("rank", "method", headline, "ok", "train", "iqm")]
    gone: list[str] = []
    others = [name for name in scores if name != "pessimistic" and not is_own(name)]
    own = [name for name in scores if name not in others]
    for name in [*reversed(own), "train", "iqm", *reversed(others)]:
        if sum(map(_width, columns.values())) + GAP * (len(columns) - 1) <= WIDTH:
            break
        if name in columns:
            gone.insert(0, " ".join(columns.pop(name).heading).strip())
    return columns, [f"Not shown, for want of room: {', '.join(gone)}; leaderboard.md has them."] * bool(gone)


def _width(column: Column) -> int:
    """How many letters a column takes in a terminal, where tabulate leaves room beside a heading."""
    lines = [line for text in column.texts for line in text.split("\n")]
    return max([len(heading) + MIN_PADDING for heading in column.heading] + list(map(len, lines)))


def notes(table: pd.DataFrame, results: Results) -> list[str]:
    """What a reader must know beside the table: what the numbers are, which are not comparable, what failed, and what is missing."""
    n_seeds = int(table["n_seeds"].max()) if len(table) else 0
    resplit = results.resplit
    interval = SPREAD if resplit else f"95 % {interval_name(n_seeds)} interval"
    interval = f" [{interval}]" if n_seeds > 1 else ""
    order = NO_RANKS if results.lacks_truth else f"ranked by {results.headline_name}"
    lines = [f"Mean{interval} over {seeds_text(table)}; test split; {order}.", *[RESPLIT] * resplit]
    if results.lacks_truth:
        lines += [text for name, text in WITHOUT_TRUTH.items() if table[name].notna().any()]
        absent = _without_score(results)
        if absent:
            lines.append(f"Not listed, since without true latents they have no score: {', '.join(absent)}.")
    elif table[results.headline.name].notna().any():
        failed = "; pessimistic: its mean with a failed trial counted as the floor" if table["n_failed"].any() else ""
        lines.append(f"IQM: the interquartile mean of {results.headline_name} over all trials{failed}.")
    lines += [*_levels(table), *_starts(results)]
    if not table["comparable"].all():
        lines.append(f"{MARK} {MARK_MEANING}.")
    for row in table.to_dict("records"):
        label, n_trials = row["label"], row["n_trials"]
        if row["n_failed"]:
            lines.append(
                f"{label}: {row['n_failed']} of {count(n_trials, 'trial')} failed, most often: {row['reason']}."
            )
        if row["n_not_applicable"]:
            lines.append(f"{label}: not applicable to {row['n_not_applicable']} of {count(n_trials, 'trial')}.")
    return [*lines, *filter(None, [results.missing_text]), *_submitted(results)]


def _submitted(results: Results) -> list[str]:
    """Which trials came in archives of others, and what was done to check them."""
    if ARCHIVE not in results.trials:
        return []
    known = submissions.of(results.manifest)
    said = []
    for digest, n in results.trials[ARCHIVE].value_counts().items():
        own = known.get(str(digest))
        of = f"were submitted by {own.who} ({own.standing})" if own else "came in an archive of which nothing is known"
        said.append(f"{count(n, 'trial')} {of}.")
    return said


@once
def _starts(results: Results) -> list[str]:
    """Which methods start from random weights where others start from the chart of the data: that alone can be worth more than a prior."""
    if not {"start", "steps"} <= set(results.trials):
        return []
    trials = results.trials.loc[results.ok & (results.trials["role"] == "method"), ["label", "start", "steps"]]
    if not (trials["start"] == "chart").any():
        return []
    random = sorted(trials.loc[trials["start"].isna() & trials["steps"].notna(), "label"].unique())
    others = "others start from the chart of the data set, which by itself can move scores"
    return [f"From random weights: {', '.join(random)}; {others} (--start random for all)."] if random else []


def _levels(table: pd.DataFrame) -> list[str]:
    """What the agreement of halves and the score of the support are by chance and at best, and who agrees with itself and is wrong."""
    pair = ["halves_agreement", "support_ap"]
    if table["halves_agreement"].isna().all():
        return []
    said = {"halves_agreement": "agreement of halves", "support_ap": "average precision of the support"}
    known = [name for name in pair if table[name].notna().any()]
    levels = [f"{said[name]} is {number(table[f'{name}_chance'].mean(), 2)} by chance" for name in known]
    text = (
        f"Levels: {' and '.join(levels)}; at best, both are 1. "
        if len(known) == 2
        else f"Levels: {levels[0]}; at best, it is 1. "
    )
    wrong = table.dropna(subset=pair)
    if wrong.empty:
        return [text + "Agreeing with oneself is not being right."]
    row = wrong.loc[(wrong["halves_agreement"] - wrong["support_ap"]).idxmax()]
    example = f"{row['label']} agrees to {number(row['halves_agreement'], 2)}, and its support scores {number(row['support_ap'], 2)}"
    return [f"{text}Agreeing with oneself is not being right: {example}."]


OTHER_COLUMNS = ("rank", "iqm", "pessimistic", "seeds", "ok", "failed", "train")  # beside scores


class Column(NamedTuple):
    """A column of a table as it is printed: its heading in two parts, a group and a name in it, and a text for each row."""

    heading: tuple[str, str]
    texts: list[str]


def _columns(table: pd.DataFrame, results: Results, narrow: str, chosen: Sequence[str] = ()) -> dict[str, Column]:
    """The columns of a narrow table by name. That for terminals has the interval of the headline alone, and no number of seeds.

    `chosen` names scores in the place of those that this table shows by itself.
    """
    known = {name: score for name, score in results.shown().items() if table[name].notna().any()}
    shown = {name: score for name, score in known.items() if narrow in score.tables} or known
    if chosen:
        shown = {name: results.scores[name] for name in (results.headline.name, *chosen) if name in results.scores}
    is_paper, headline = narrow == "paper", results.headline.name

    def numbers(name: str) -> list[str]:
        return [number(value) or "–" for value in table[name]]

    labels = zip(table["label"], table["comparable"], strict=True)
    columns = {
        "rank": Column(("", "rank"), ["" if pd.isna(rank) else str(rank) for rank in table["rank"]]),
        "method": Column(("", "method"), [label + ("" if comparable else f" {MARK}") for label, comparable in labels]),
    }
    for name, score in shown.items():
        heading = score.heading or ("", name)
        if name == results.headline.name or is_paper:
            ends = zip(*(table[name + end] for end in ("", "_low", "_high")), strict=True)
            columns[name] = Column(heading, [with_interval(*entry) or "–" for entry in ends])
        else:
            columns[name] = Column(heading, numbers(name))
        if name == headline and not results.lacks_truth:
            columns["iqm"] = Column((heading[0], "IQM"), numbers("iqm"))
            if table["n_failed"].any() or "pessimistic" in chosen:
                columns["pessimistic"] = Column((heading[0], "pessimistic"), numbers("pessimistic"))
    if results.lacks_truth:
        del columns["rank"]
    if is_paper:
        columns["seeds"] = Column(("", "seeds"), [str(n) for n in table["n_seeds"]])
    counts = zip(table["n_ok"], table["n_trials"], strict=True)
    columns["ok"] = Column(("", "ok"), [f"{n_ok}/{n_trials}" for n_ok, n_trials in counts])
    columns["failed"] = Column(("", "failed"), [str(n) for n in table["n_failed"]])
    columns["train"] = Column(("train", "s"), [seconds_text(value) for value in table["train_s"]])
    return columns


def _rows(columns: Mapping[str, Column]) -> list[list[str]]:
    return [list(row) for row in zip(*(column.texts for column in columns.values()), strict=True)]


def check_columns(results: Results, chosen: Sequence[str]) -> None:
    """Raises UsageError for a name that no column of leaderboard.tex has."""
    if not chosen:
        return
    scores = [name for name in results.scores if name in results.trials and results.trials[name].notna().any()]
    wanted = [*(name for name in scores if not results.scores[name].per_latent), *OTHER_COLUMNS]
    there = _columns(table(results), results, "paper", wanted)
    known = [name for name in wanted if name in there]
    for name in chosen:
        if name not in known:
            raise UsageError(f"--columns: there is no column {name!r}; {nearest(name, known)}")


def write(
    results: Results, folder: Path, by: Sequence[str] = (), chosen: Sequence[str] = ()
) -> dict[str, pd.DataFrame]:
    """leaderboard.md, .csv and .tex in `folder`, and the `boards` that they hold. The Markdown also has the headline score per cell.

    `chosen` are the columns of leaderboard.tex beside the method, in their order: scores by name, and what `OTHER_COLUMNS` has.
    """
    found = boards(results, by)
    everything = pd.concat(found.values(), ignore_index=True)
    order = everything["label"].drop_duplicates()
    columns = [*by, *everything.columns.drop(list(by))]
    write_text(folder / "leaderboard.md", _markdown(found, results, _per_cell(results, order)))
    write_text(folder / "leaderboard.csv", csv_text(everything[columns]))
    heads = {name: rf"\par\medskip\emph{{{escape(name)}}}\par" if name else "" for name in found}
    latex = [heads[name] + _latex(rows, results, chosen) for name, rows in found.items()]
    write_text(folder / "leaderboard.tex", "\n".join([NEEDS, *latex]))
    return found


def _markdown(found: Mapping[str, pd.DataFrame], results: Results, per_cell: dict[str, list[str]]) -> str:
    parts = ["# Leaderboard"]
    for name, rows in found.items():
        columns = _columns(rows, results, "terminal") | {"role": Column(("", "role"), list(rows["role"]))}
        headers = [markdown(" ".join(column.heading).strip()) for column in columns.values()]
        body = [list(map(markdown, row)) for row in _rows(columns)]
        parts += [f"## {markdown(name)}"] * bool(name)
        parts += [tabulate(body, headers, tablefmt="pipe", disable_numparse=True)]
        parts += ["\n".join(f"- {markdown(note)}" for note in notes(rows, results))]
    if per_cell:
        parts += [
            f"## {results.headline_name} by cell",
            tabulate(per_cell, "keys", tablefmt="pipe", disable_numparse=True),
        ]
        ends = "spreads" if results.resplit else "intervals"
        parts += [f"Means and {ends} as above. In brackets, where not all trials of a cell are ok: how many are."]
    return "\n\n".join(parts) + "\n"


def _per_cell(results: Results, order: pd.Series) -> dict[str, list[str]]:
    varying = results.cells
    if not varying:
        return {}
    rows = summary(results.trials, ["label", *varying], [results.headline])
    names = [place_text(row) for row in rows[varying].to_dict("records")]
    texts = [_cell_text(row, results.headline.name) for row in rows.itertuples()]
    entries = dict(zip(zip(rows["label"], names, strict=True), texts, strict=True))
    columns = rows[varying].set_axis(names, axis=0).drop_duplicates().sort_values(varying).index
    return {"method": list(map(markdown, order))} | {
        markdown(name): [entries.get((label, name), "not run") for label in order] for name in columns
    }


def _cell_text(row: Any, score: str) -> str:
    if row.n_ok == 0:
        return "failed" if row.n_failed else "not applicable"
    mean, low, high = (getattr(row, score + end) for end in ("", "_low", "_high"))
    count = f" ({row.n_ok}/{row.n_trials})" if row.n_ok < row.n_trials else ""
    return (with_interval(mean, low, high) or "–") + count


def _latex(rows: pd.DataFrame, results: Results, chosen: Sequence[str]) -> str:
    columns = _columns(rows, results, "paper", chosen)
    for name in results.shown().keys() & columns.keys():
        looks = zip(columns[name].texts, rows[f"{name}_best"], rows[f"{name}_tied"], strict=True)
        texts = [_marked(text, r"\textbf" if best else r"\underline" if tied else "") for text, best, tied in looks]
        columns[name] = columns[name]._replace(texts=texts)
    columns["method"] = columns["method"]._replace(texts=[escape(text) for text in columns["method"].texts])
    if chosen:
        columns = {name: columns[name] for name in ("method", *chosen)}
    else:  # nor what is the same for all rows, which the comment above the table says
        is_same = {"seeds": rows["n_seeds"].nunique() == 1, "ok": rows["comparable"].all()}
        unwanted = {"rank", "failed", *(name for name, same in is_same.items() if same)}
        columns = {name: column for name, column in columns.items() if name not in unwanted}
    lines = [f"% {one_line(note)}" for note in notes(rows, results)]
    lines += [
        f"% {ties(results)} Sub- and superscripts: the ends of the {'spread' if results.resplit else 'interval'}."
    ]
    lines += [
        r"{\footnotesize\setlength{\tabcolsep}{2pt}%",
        rf"\begin{{tabular}}{{@{{}}l{'c' * (len(columns) - 1)}@{{}}}}",
    ]
    lines += [r"\toprule", *_latex_heading([column.heading for column in columns.values()]), r"\midrule"]
    roles = list(rows["role"])
    for index, row in enumerate(_rows(columns)):
        if index and roles[index] != roles[index - 1]:
            lines.append(r"\midrule")
        lines.append(" & ".join(row).replace("–", "--") + r" \\")
    lines.append(r"\bottomrule")
    if not rows["comparable"].all():
        meaning = MARK_MEANING if "ok" in columns else MARK_MEANING.replace(" (see ok)", "")
        lines.append(rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\scriptsize {escape(MARK)} {escape(meaning)}}} \\")
    return "\n".join([*lines, r"\end{tabular}}", ""])


def _latex_heading(headings: Sequence[tuple[str, str]]) -> list[str]:
    """The lines of headings: a group of several columns stands above their names with a rule between, that of one before its name."""
    groups, rules, names, start = [], [], [], 1
    for group, each in itertools.groupby(headings, key=lambda heading: heading[0]):
        own = [name for _, name in each]
        is_wide = bool(group) and len(own) > 1
        if is_wide:
            groups.append(rf"\multicolumn{{{len(own)}}}{{c}}{{{escape(group)}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + len(own) - 1}}}")
        else:
            groups += [""] * len(own)
        names += [escape(name if is_wide else f"{group} {name}".strip()) for name in own]
        start += len(own)
    above = [" & ".join(groups) + r" \\", " ".join(rules)] if rules else []
    return [*above, " & ".join(names) + r" \\"]


def _marked(text: str, command: str) -> str:
    """A mean in `command`, with its interval as sub- and superscript: side by side, five of them are wider than a page."""
    mean, _, interval = text.partition(" ")
    low, _, high = interval.strip("[]").partition(", ")
    return (rf"{command}{{{mean}}}" if command else mean) + (f"$_{{{low}}}^{{{high}}}$" if high else "")


NEEDS = r"% In the head of the paper: \usepackage{booktabs}"
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", MARK: r"$^\dagger$"}


def escape(text: str) -> str:
    """`text` for LaTeX, which gives special characters a meaning of their own."""
    escaped = (LATEX.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in one_line(text))
    return "".join(escaped).replace("R²", "$R^2$")
