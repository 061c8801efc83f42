"""The leaderboard of a run: one row per method with its scores, their intervals over data seeds, and what did not run.

`trials` has one row per trial. A score's mean takes the trials that are ok: those of one data seed are averaged first,
then the seeds; the interval is over seeds. Every row says of how many of its trials that was, and a method whose mean
covers fewer than another's is marked, since it is not a mean over the same cells and seeds. `bench.statistics` has the
statistics.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tabulate import SEPARATING_LINE, tabulate

from bench.statistics import LEVEL, holm, interquartile_mean, interval_name, mean_along, mean_interval

HEADLINE = "mcc_spearman"
ROLES = ("method", "ceiling", "floor")  # in the order of the table; only methods are ranked
SHOWN = {  # score: its heading in two parts
    "mcc_spearman": ("MCC", "Spearman"),
    "mcc_pearson": ("MCC", "Pearson"),
    "mcc_within": ("MCC", "within"),
    "r2_component": ("R²", "component"),
    "r2_block": ("R²", "block"),
    "r2_linear": ("R²", "linear"),
    "r2_content": ("R²", "content"),
    "mcc_style": ("MCC", "style"),
    "support_ap": ("support", "AP"),
    "support_f1": ("support", "F1"),
    "consistency": ("", "consistency"),
    "recon_nmse": ("", "NMSE"),
}
NARROW = (
    "mcc_spearman",
    "mcc_within",
    "r2_block",
    "r2_content",
    "mcc_style",
    "support_ap",
)  # on the terminal and in Markdown
PAPER = (
    "mcc_spearman",
    "mcc_pearson",
    "mcc_within",
    "r2_component",
    "r2_block",
    "r2_content",
    "mcc_style",
    "support_ap",
)  # in LaTeX
SCORES = (*SHOWN, "objective")  # objectives are only in the CSV: those of two methods cannot be compared
LOWER_IS_BETTER = ("recon_nmse",)
MARK = "†"
MARK_MEANING = "mean over fewer trials than another row's (see ok): not the same cells and seeds"

TIES = (
    "Bold: the best method. Underlined: its paired difference to the best is not significant (5 %, Holm's correction)."
)


def labels(trials: pd.DataFrame, method_fields: Sequence[str]) -> pd.Series:
    """The label of each trial: its method, and in brackets those `method_fields` that vary within it in `trials`."""
    found = trials["method"].astype(object)
    for method, rows in trials.groupby("method"):
        varied = [field for field in method_fields if field in trials and n_values(rows[field]) > 1]
        if varied:
            texts = [f"{method} ({place_text(row)})" for row in rows[varied].to_dict("records")]
            found = found.mask(trials["method"] == method, pd.Series(texts, index=rows.index))
    return found


def cells(trials: pd.DataFrame, dataset_fields: Sequence[str]) -> list[str]:
    """What distinguishes the cells of `trials`: those of "dataset" and `dataset_fields` that take several values."""
    fields = dict.fromkeys(("dataset", *dataset_fields))
    return [field for field in fields if field in trials and n_values(trials[field]) > 1]


def n_values(values: pd.Series) -> int:
    """How many values a field takes, none being one."""
    return int(values.nunique() + values.isna().any())


def value_text(value: Any) -> str:
    """A field's value as one would type it: 3000.0, which a NaN in its column makes of 3000, is 3000 again."""
    if pd.isna(value):
        return "none"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(float(value))
    return str(value)


def is_ok(trials: pd.DataFrame) -> pd.Series:
    """Which trials count in a mean. One that claims to be ok without a headline score counts as failed, unless the truth is unknown."""
    unknown = ~trials["has_truth"].astype(bool) if "has_truth" in trials else False
    return (trials["status"] == "ok") & (trials[HEADLINE].notna() | unknown)


def is_failed(trials: pd.DataFrame) -> pd.Series:
    """Which trials went wrong, in whatever way: all that are neither ok nor not applicable."""
    return ~is_ok(trials) & (trials["status"] != "not-applicable")


def summary(trials: pd.DataFrame, by: Sequence[str], scores: Sequence[str] = (HEADLINE,)) -> pd.DataFrame:
    """One row per combination of the columns `by`: the counts of its trials, and each score's mean over data seeds.

    A score S becomes S (the mean over seeds of the seed's mean over its ok trials), S_low and S_high (the ends of its 95 % interval);
    NaN where there is nothing to compute them from. n_seeds counts seeds with an ok trial.
    """
    trials = trials.reset_index(drop=True)
    ok, failed = is_ok(trials), is_failed(trials)
    group = trials.groupby(list(by), dropna=False).ngroup()
    rows = trials.loc[~group.duplicated(), list(by)].set_axis(group.unique(), axis=0).sort_index()
    rows["n_seeds"] = trials["seed"].where(ok).groupby(group).nunique()
    rows["n_trials"] = ok.groupby(group).size()
    rows["n_ok"] = ok.groupby(group).sum()
    rows["n_failed"] = failed.groupby(group).sum()
    rows["n_not_applicable"] = rows["n_trials"] - rows["n_ok"] - rows["n_failed"]
    for score in scores:
        by_seed = trials[score].where(ok).groupby([group, trials["seed"]]).mean().unstack()
        mean, low, high, _ = mean_interval(by_seed.to_numpy(float).T)
        rows[[score, f"{score}_low", f"{score}_high"]] = np.stack([mean, low, high], axis=1)
    return rows.reset_index(drop=True)


class ScoreArray(NamedTuple):
    """`values` (n_labels, n_seeds, n_cells), NaN where no trial is ok; what its axes stand for, the cells as a row each."""

    values: np.ndarray
    labels: list[str]
    seeds: list[int]
    cells: pd.DataFrame


def score_array(trials: pd.DataFrame, fields: Sequence[str], score: str = HEADLINE) -> ScoreArray:
    """The scores of `trials`, which have a column `label`, by label, data seed and cell: what the columns `fields` tell apart.

    Several trials in one place, which differ in another field, are averaged.
    """
    trials = trials.reset_index(drop=True)
    cell = trials.groupby(list(fields), dropna=False).ngroup() if fields else pd.Series(0, trials.index)
    places = trials.loc[~cell.duplicated(), list(fields)].set_axis(cell.unique(), axis=0).sort_index()
    label, labels = pd.factorize(trials["label"])
    seed, seeds = pd.factorize(trials["seed"], sort=True)
    shape = (len(labels), len(seeds), len(places))
    at = np.ravel_multi_index((label, seed, cell.to_numpy()), shape)
    ok = (is_ok(trials) & trials[score].notna()).to_numpy()
    total = np.bincount(at[ok], trials[score].to_numpy(float)[ok], minlength=np.prod(shape))
    with np.errstate(invalid="ignore"):
        values = (total / np.bincount(at[ok], minlength=np.prod(shape))).reshape(shape)
    return ScoreArray(values, list(labels), list(seeds), places.reset_index(drop=True))


def pessimistic(trials: pd.DataFrame, dataset_fields: Sequence[str]) -> pd.Series:
    """The headline score, of a trial that failed the lowest one of any floor on the same cell and data seed, or 0; else NaN."""
    fields = [field for field in dict.fromkeys(("dataset", *dataset_fields, "seed")) if field in trials]
    place = trials.groupby(fields, dropna=False).ngroup()
    own = trials[HEADLINE].where(is_ok(trials))
    floors = own[trials["role"] == "floor"].groupby(place).min()
    return own.mask(is_failed(trials), place.map(floors).fillna(0.0))


def boards(
    trials: pd.DataFrame, method_fields: Sequence[str], dataset_fields: Sequence[str], by: Sequence[str] = ()
) -> dict[str, pd.DataFrame]:
    """The `table` of each combination of values of the columns `by`, named as "violation=0.5"; without `by` one, named ""."""
    unknown = {score: np.nan for score in SCORES if score not in trials}  # in a run of an earlier version
    trials = trials.assign(pessimistic=pessimistic(trials, dataset_fields), **unknown)
    if not by:
        return {"": _table(trials, method_fields, dataset_fields)}
    found = {}
    for values, own in trials.groupby(list(by), dropna=False):
        place = dict(zip(by, values, strict=True))
        found[place_text(place)] = _table(own, method_fields, dataset_fields).assign(**place)
    return found


def table(trials: pd.DataFrame, method_fields: Sequence[str], dataset_fields: Sequence[str]) -> pd.DataFrame:
    """One row per label: methods from the best mean headline score to the worst, then the ceiling, then the floors.

    Columns: rank (of methods with a score; ties share the better rank), label, method, role, those of `summary` for all scores;
    S_best and S_tied for each shown score S (of the methods, the best to three digits, and those that the paired difference to it, Holm's
    correction over the methods, does not tell from it); iqm, the interquartile mean of the headline score over all trials, and pessimistic, its
    mean with failures counted as the floor; train_s (seconds, mean over the ok trials), comparable (False: the mean covers fewer trials
    than another row has), and reason, the most common one for which trials failed.
    """
    return boards(trials, method_fields, dataset_fields)[""]


def _table(trials: pd.DataFrame, method_fields: Sequence[str], dataset_fields: Sequence[str]) -> pd.DataFrame:
    trials = trials.assign(label=labels(trials, method_fields))
    ok = trials[is_ok(trials)]
    rows = summary(trials, ["label", "method", "role"], SCORES)
    rows["iqm"] = rows["label"].map(
        ok.groupby("label")[HEADLINE].agg(lambda own: interquartile_mean(own.to_numpy(), axis=0))
    )
    by_seed = trials.groupby(["label", "seed"])["pessimistic"].mean()
    rows["pessimistic"] = rows["label"].map(by_seed.groupby("label").mean())
    rows["train_s"] = rows["label"].map(ok.groupby("label")["train_s"].mean())
    rows["comparable"] = rows["n_ok"] == rows["n_trials"].max()
    failed = trials[is_failed(trials)]
    reasons = {label: _reason(group) for label, group in failed.groupby("label")}
    rows["reason"] = rows["label"].map(reasons)
    for score in SHOWN:
        rows[f"{score}_best"] = _best(rows, score)
        rows[f"{score}_tied"] = _tied(rows, trials, cells(trials, dataset_fields), score)
    ranked = rows[HEADLINE].where(rows["role"] == "method").rank(method="min", ascending=False)
    rows.insert(0, "rank", ranked.astype("Int64"))
    rows["order"] = rows["role"].map(ROLES.index)
    rows = rows.sort_values(["order", HEADLINE, "label"], ascending=[True, False, True])
    return rows.drop(columns="order").reset_index(drop=True)


def _best(rows: pd.DataFrame, score: str) -> pd.Series:
    values = rows[score].where(rows["role"] == "method").round(3)
    return values == (values.min() if score in LOWER_IS_BETTER else values.max())


def _tied(rows: pd.DataFrame, trials: pd.DataFrame, fields: Sequence[str], score: str) -> pd.Series:
    """Which methods are not the best, and not told from it by the paired difference on the data seeds and cells of both."""
    own = trials[trials["role"] == "method"]
    found = score_array(own, fields, score)
    if np.isnan(found.values).all():
        return pd.Series(False, rows.index)
    best = rows.set_index("label").loc[found.labels, score].to_numpy(float)
    first = np.nanargmin(best) if score in LOWER_IS_BETTER else np.nanargmax(best)
    difference = mean_along(found.values[first] - found.values, -1)
    p = mean_interval(np.delete(difference, first, axis=0)).p.ravel()
    tied = dict(zip(np.delete(found.labels, first), holm(p) >= 1 - LEVEL, strict=True))
    return rows["label"].map(lambda label: bool(tied.get(label, False))) & ~rows[f"{score}_best"]


def _reason(failed: pd.DataFrame) -> str:
    errors = failed["error"].where(failed["error"].notna(), failed["status"]).replace("ok", "no score")
    last_lines = errors.astype(str).map(lambda error: (error.strip().splitlines() or [""])[-1])
    return last_lines.value_counts(sort=True).index[0]


def render(table: pd.DataFrame) -> str:
    """The table for a terminal: means with their 95 % interval, and below it what must be known to read it."""
    columns = _columns(table, is_narrow=True)
    body: list[list[str] | str] = []
    for _, group in itertools.groupby(zip(table["role"], _rows(columns), strict=True), key=lambda pair: pair[0]):
        body += [SEPARATING_LINE] * bool(body) + [row for _, row in group]
    headers = ["\n".join(heading) for heading in columns]
    align = ["right", "left"] + ["left"] * (len(headers) - 2)
    text = tabulate(body, headers, tablefmt="simple", disable_numparse=True, colalign=align)
    return "\n".join([text, "", *notes(table)])


def notes(table: pd.DataFrame) -> list[str]:
    """What a reader must know beside the table: what the numbers are, which are not comparable, what failed and why."""
    n_seeds = int(table["n_seeds"].max())
    interval = f" [95 % {interval_name(n_seeds)} interval]" if n_seeds > 1 else ""
    lines = [f"Mean{interval} over {seeds_text(table)}; test split; ranked by MCC (Spearman)."]
    if table[HEADLINE].notna().any():
        failed = "; pessimistic: its mean with a failed trial counted as the floor" if table["n_failed"].any() else ""
        lines.append(f"IQM: the interquartile mean of MCC (Spearman) over all trials{failed}.")
    if not table["comparable"].all():
        lines.append(f"{MARK} {MARK_MEANING}.")
    for row in table.to_dict("records"):
        label, n_trials = row["label"], row["n_trials"]
        if row["n_failed"]:
            lines.append(f"{label}: {row['n_failed']} of {n_trials} trials failed, most often: {row['reason']}.")
        if row["n_not_applicable"]:
            lines.append(f"{label}: not applicable to {row['n_not_applicable']} of {n_trials} trials.")
    return lines


def seeds_text(summarised: pd.DataFrame) -> str:
    """How many data seeds stand behind the means of a `summary`: "5 data seeds", or "4 to 5 data seeds"."""
    counts = summarised.loc[summarised["n_seeds"] > 0, "n_seeds"]
    if counts.empty:
        return "no data seed"
    few, many = counts.min(), counts.max()
    return (f"{many}" if few == many else f"{few} to {many}") + f" data seed{'s' if many > 1 else ''}"


def number(value: float, digits: int = 3) -> str:
    """A score without the zero before its point; empty for NaN."""
    if pd.isna(value):
        return ""
    text = f"{value:.{digits}f}"
    text = text.replace("-0.", "-.") if text.startswith("-0.") else text.removeprefix("0") if value < 1 else text
    return text.removeprefix("-") if not text.strip("-.0") else text


def with_interval(mean: float, low: float, high: float, digits: int = 3) -> str:
    """A mean and the ends of its interval as ".918 [.883, .947]", without what is NaN."""
    return number(mean, digits) + ("" if pd.isna(low) else f" [{number(low, digits)}, {number(high, digits)}]")


def p_text(p: float) -> str:
    """A p-value to three digits; empty for NaN."""
    return "<.001" if p < 0.0005 else number(p)


def _columns(table: pd.DataFrame, is_narrow: bool) -> dict[tuple[str, str], list[str]]:
    """The texts of a table by heading. A narrow one has fewer scores, and the interval of the headline alone."""
    known = [score for score in SHOWN if table[score].notna().any()]
    shown = [score for score in known if score in (NARROW if is_narrow else PAPER)] or known
    columns = {("", "rank"): ["" if pd.isna(rank) else str(rank) for rank in table["rank"]]}
    columns["", "method"] = [
        label + ("" if comparable else f" {MARK}")
        for label, comparable in zip(table["label"], table["comparable"], strict=True)
    ]
    for score in shown:
        has_interval = score == HEADLINE or not is_narrow
        entries = zip(*(table[score + end] for end in ("", "_low", "_high")), strict=True)
        columns[SHOWN[score]] = [
            (with_interval(*entry) if has_interval else number(entry[0])) or "–" for entry in entries
        ]
        if score == HEADLINE:
            columns["MCC", "IQM"] = [number(value) or "–" for value in table["iqm"]]
            if table["n_failed"].any():
                columns["MCC", "pessimistic"] = [number(value) or "–" for value in table["pessimistic"]]
    if not is_narrow:
        columns["", "seeds"] = [str(n) for n in table["n_seeds"]]
    counts = zip(table["n_ok"], table["n_trials"], strict=True)
    columns["", "ok"] = [f"{n_ok}/{n_trials}" for n_ok, n_trials in counts]
    columns["", "failed"] = [str(n) for n in table["n_failed"]]
    columns["train", "s"] = [_seconds(value) for value in table["train_s"]]
    return columns


def _rows(columns: dict[tuple[str, str], list[str]]) -> list[list[str]]:
    return [list(row) for row in zip(*columns.values(), strict=True)]


def _seconds(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def place_text(fields: Mapping[Any, Any]) -> str:
    """Some fields with their values, as "domains=3, violation=0.5"."""
    return ", ".join(f"{field}={value_text(value)}" for field, value in fields.items())


def write(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    folder: str | Path,
    by: Sequence[str] = (),
) -> dict[str, pd.DataFrame]:
    """leaderboard.md, .csv and .tex in `folder`, and the `boards` that they hold. The Markdown also has the headline score per cell."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = boards(trials, method_fields, dataset_fields, by)
    everything = pd.concat(found.values(), ignore_index=True)
    order = everything["label"].drop_duplicates()
    texts = {
        "md": _markdown(found, _per_cell(trials, method_fields, cells(trials, dataset_fields), order)),
        "csv": everything[[*by, *everything.columns.drop(list(by))]].to_csv(index=False),
        "tex": "\n".join(
            rf"\par\medskip\emph{{{_escape(name)}}}\par" * bool(name) + _latex(rows) for name, rows in found.items()
        ),
    }
    for suffix, text in texts.items():
        (folder / f"leaderboard.{suffix}").write_text(text, encoding="utf-8")
    return found


def _markdown(found: Mapping[str, pd.DataFrame], per_cell: dict[str, list[str]]) -> str:
    parts = ["# Leaderboard"]
    for name, rows in found.items():
        columns = _columns(rows, is_narrow=True)
        columns["", "role"] = list(rows["role"])
        headers = [" ".join(heading).strip() for heading in columns]
        parts += [f"## {name}"] * bool(name)
        parts += [tabulate(_rows(columns), headers, tablefmt="pipe", disable_numparse=True)]
        parts += ["\n".join(f"- {note}" for note in notes(rows))]
    if per_cell:
        parts += ["## MCC (Spearman) by cell", tabulate(per_cell, "keys", tablefmt="pipe", disable_numparse=True)]
        parts += ["Means and intervals as above. In brackets, where not all trials of a cell are ok: how many are."]
    return "\n\n".join(parts) + "\n"


def _per_cell(
    trials: pd.DataFrame, method_fields: Sequence[str], varying: Sequence[str], order: pd.Series
) -> dict[str, list[str]]:
    if not varying:
        return {}
    rows = summary(trials.assign(label=labels(trials, method_fields)), ["label", *varying])
    names = [place_text(row) for row in rows[list(varying)].to_dict("records")]
    entries = pd.Series([_cell_text(row) for row in rows.itertuples()], index=[rows["label"], names])
    columns = rows[list(varying)].set_axis(names, axis=0).drop_duplicates().sort_values(list(varying)).index
    return {"method": list(order)} | {
        name: [entries.get((label, name), "not run") for label in order] for name in columns
    }


def _cell_text(row: Any) -> str:
    if row.n_ok == 0:
        return "failed" if row.n_failed else "not applicable"
    mean, low, high = (getattr(row, HEADLINE + end) for end in ("", "_low", "_high"))
    count = f" ({row.n_ok}/{row.n_trials})" if row.n_ok < row.n_trials else ""
    return with_interval(mean, low, high) + count


def _latex(rows: pd.DataFrame) -> str:
    columns = _columns(rows, is_narrow=False)
    for score, heading in SHOWN.items():
        if heading in columns:
            columns[heading] = [
                _marked(text, r"\textbf" if best else r"\underline" if tied else "")
                for text, best, tied in zip(columns[heading], rows[f"{score}_best"], rows[f"{score}_tied"], strict=True)
            ]
    columns["", "method"] = [_escape(text) for text in columns["", "method"]]
    del columns["", "rank"], columns["", "failed"]
    lines = [f"% {note}" for note in notes(rows)]
    lines += [f"% {TIES} Sub- and superscripts: the ends of the interval."]
    lines += [
        r"{\footnotesize\setlength{\tabcolsep}{2pt}%",
        rf"\begin{{tabular}}{{@{{}}l{'c' * (len(columns) - 1)}@{{}}}}",
    ]
    lines += [r"\toprule", *_latex_heading(list(columns)), r"\midrule"]
    roles = list(rows["role"])
    for index, row in enumerate(_rows(columns)):
        if index and roles[index] != roles[index - 1]:
            lines.append(r"\midrule")
        lines.append(" & ".join(row).replace("–", "--") + r" \\")
    lines.append(r"\bottomrule")
    if not rows["comparable"].all():
        lines.append(
            rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\scriptsize {_escape(MARK)} {_escape(MARK_MEANING)}}} \\"
        )
    return "\n".join([*lines, r"\end{tabular}}", ""])


def _latex_heading(headings: list[tuple[str, str]]) -> list[str]:
    groups, rules, start = [], [], 1
    for name, members in itertools.groupby(
        headings, key=lambda heading: heading[0] if heading[0] in ("MCC", "R²") else ""
    ):
        width = len(list(members))
        if name:
            groups.append(rf"\multicolumn{{{width}}}{{c}}{{{name.replace('R²', '$R^2$')}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        else:
            groups += [""] * width
        start += width
    names = [_escape(" ".join(heading) if heading[0] in ("train", "support") else heading[1]) for heading in headings]
    return [" & ".join(groups) + r" \\", " ".join(rules), " & ".join(names) + r" \\"]


def _marked(text: str, command: str) -> str:
    """A mean in `command`, with its interval as sub- and superscript: side by side, five of them are wider than a page."""
    mean, _, interval = text.partition(" ")
    low, _, high = interval.strip("[]").partition(", ")
    return (rf"{command}{{{mean}}}" if command else mean) + (f"$_{{{low}}}^{{{high}}}$" if high else "")


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", MARK: r"$^\dagger$"}
    return "".join(special.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)
