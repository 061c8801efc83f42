"""Two runs side by side: what changed from one to the other, per method and cell, on the data seeds that both have.

Made for versions of a method. Data are matched strictly (data set, all its fields, root seed and seed); methods by name and by those of
their fields that vary within a run, so that a changed default or budget is compared, and said, rather than passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.report.results import HEADLINE_NAME, SPREAD, Results, is_failed, is_ok, is_resplit, n_values, varying
from bench.report.synergy import ALL, CELL
from bench.report.texts import difference_text, number, p_text, place_text, value_text
from bench.run.store import settled, write_text
from bench.scores import HEADLINE, statistics
from bench.text import count, csv_text, markdown

SIDES = ("a", "b")


def matched(a: Results, b: Results, score: str = HEADLINE) -> tuple[pd.DataFrame, list[str]]:
    """One row per question (method, cell, data seed) asked in either run, and the fields that tell cells apart.

    Columns: method, label, cell (text), those fields, data_seed, side ("both", "a" or "b"), a and b, the scores (NaN unless the trial
    is ok), failed_a and failed_b.
    """
    sides = {"a": a.trials, "b": b.trials}
    dataset_fields = _asked(a.dataset_fields, b.dataset_fields, sides)
    method_fields = _asked(a.method_fields, b.method_fields, sides)
    together = pd.concat([trials.assign(side=side) for side, trials in sides.items()], ignore_index=True)
    together = settled(together, {*dataset_fields, *method_fields})
    cells = varying(together, ["dataset", *dataset_fields])
    varied = {
        method: [f for f in method_fields if any(varying(rows, [f]) for _, rows in own.groupby("side"))]
        for method, own in together.groupby("method")
    }
    rows = together.to_dict("records")
    together["cell"] = [place_text({f: row[f] for f in cells}) for row in rows]
    settings = [place_text({f: row[f] for f in varied[row["method"]]}) for row in rows]
    together["label"] = together["method"] + [f" ({text})" if text else "" for text in settings]
    together["score"] = together[score].where(is_ok(together))
    together["failed"] = is_failed(together)
    key = ["method", "label", "cell", "data_seed"]
    halves = [together[together["side"] == side].drop_duplicates(key, keep="last") for side in SIDES]
    left, right = (
        half[[*key, "score", "failed"]].rename(columns={"score": side, "failed": f"failed_{side}"})
        for half, side in zip(halves, SIDES, strict=True)
    )
    found = left.merge(right, on=key, how="outer", indicator="side")
    found["side"] = found["side"].map({"both": "both", "left_only": "a", "right_only": "b"}).astype(str)
    places = together.drop_duplicates("cell").set_index("cell")[cells].sort_values(cells)
    order = {cell: place for place, cell in enumerate(places.index)}
    found = found.join(places, on="cell").sort_values(
        ["label", "cell"], key=lambda c: c.map(order) if c.name == "cell" else c
    )
    return found.reset_index(drop=True), cells


def _asked(first: Sequence[str], second: Sequence[str], sides: dict[str, pd.DataFrame]) -> list[str]:
    """The fields by which trials are told apart: one that only a run has, always at one value, is new and tells nothing."""
    fields = sorted({*first, *second})
    holders = {field: [trials[field] for trials in sides.values() if field in trials] for field in fields}
    return [field for field in fields if len(holders[field]) == 2 or any(n_values(v) > 1 for v in holders[field])]


def table(found: pd.DataFrame, cells: Sequence[str], resplits: bool = False) -> pd.DataFrame:
    """One row per label and cell that both runs have (scope "cell"), then one per label over these cells (scope "all"), from `matched`.

    Columns: label, scope, cell, `cells`; n_seeds with a score in both runs; a and b, the means over these; difference, b - a, with
    difference_low and difference_high, the ends of its 95 % interval over data seeds, p, p_holm (corrected over the rows of a
    scope); failed_a and failed_b. Over several cells, the differences of a data seed are averaged first. Where data seeds are `resplits`
    of one data set, the ends are the least and the greatest difference, and there is no p.
    """
    both = found[found["side"] == "both"].copy()
    if both.empty:
        return pd.DataFrame(columns=["label", "scope", "cell", "difference_low", "difference_high"])
    both["difference"] = both["b"] - both["a"]
    both[["a", "b"]] = both[["a", "b"]].where(both["difference"].notna())
    parts = []
    for scope, by in ((CELL, ["label", "cell", *cells]), (ALL, ["label"])):
        groups = both.groupby(by, sort=False, dropna=False)
        rows = groups[["failed_a", "failed_b"]].sum().astype(int)
        by_seed = both.groupby([*by, "data_seed"], sort=False, dropna=False)[["a", "b", "difference"]].mean()
        wide = by_seed.unstack("data_seed").reindex(rows.index)
        interval = (statistics.spread if resplits else statistics.mean_interval)(wide["difference"].to_numpy(float).T)
        rows["n_seeds"] = wide["difference"].notna().sum(axis=1)
        for side in SIDES:
            rows[side] = wide[side].mean(axis=1)
        rows[["difference", "difference_low", "difference_high", "p"]] = np.stack(interval, axis=1)
        rows["p_holm"] = statistics.holm(interval.p)
        parts.append(rows.reset_index().assign(scope=scope))
    columns = ["label", "scope", "cell", *cells, "n_seeds", *SIDES, "difference", "difference_low", "difference_high"]
    return pd.concat(parts, ignore_index=True)[[*columns, "p", "p_holm", "failed_a", "failed_b"]]


def changes(a: Results, b: Results) -> list[str]:
    """In words, how the methods of both runs differ: in their code, in settings; and the versions of what they ran with."""
    lines = []
    for method in sorted({*a.trials["method"]} & {*b.trials["method"]}):
        first, second = (side.trials[side.trials["method"] == method] for side in (a, b))
        codes = [rows.groupby("dataset")["code"].last() for rows in (first, second)]
        other = [name for name in codes[0].index.intersection(codes[1].index) if codes[0][name] != codes[1][name]]
        words = [f"other code on {', '.join(other)}"] if other else []
        for field in sorted({*a.method_fields, *b.method_fields}):
            texts = [
                "/".join(sorted(map(value_text, rows[field].unique()))) if field in rows else "none"
                for rows in (first, second)
            ]
            words += [f"{field} {texts[0]} → {texts[1]}"] if texts[0] != texts[1] else []
        lines += [f"{method}: {'; '.join(words)}."] if words else []
    used = [side.manifest["commands"][-1]["versions"] for side in (a, b)]
    names = [name for name in used[0] if used[1].get(name) not in (None, used[0][name])]
    return lines + ([f"Ran with {', '.join(f'{n} {used[0][n]} → {used[1][n]}' for n in names)}."] if names else [])


def only(found: pd.DataFrame, side: str) -> list[str]:
    """In words, what `matched` found in one of the two runs alone."""
    own, rest = found[found["side"] == side], found[found["side"] != side]
    lines = []
    for column in ("label", "cell"):
        missing = own[~own[column].isin(set(rest[column]))]
        lines += [
            f"{name or 'the one cell'} ({count(n_trials, 'trial')})"
            for name, n_trials in missing[column].value_counts(sort=False).items()
        ]
        own = own.drop(missing.index)
    return lines + (
        [f"{count(len(own), 'other trial')}, of cells or data seeds that the other run lacks for their method"]
        if len(own)
        else []
    )


def render(a: Results, b: Results, tablefmt: str = "simple") -> tuple[str, pd.DataFrame]:
    """The comparison as text, or as Markdown where its tables are to be "pipe", and its `table`."""
    shown = markdown if tablefmt == "pipe" else str
    found, cells = matched(a, b)
    resplits = is_resplit(a.trials) or is_resplit(b.trials)
    rows = table(found, cells, resplits)
    what = f"means over the re-splits of one data set that both have; B - A with its {SPREAD}, which is no evidence about new data"
    what = what if resplits else "means over the data seeds of both; B - A with its 95 % interval"
    names = a.manifest["name"], b.manifest["name"]
    parts = [f"A = {shown(names[0])}, B = {shown(names[1])}. {HEADLINE_NAME}, test; {what}."]
    parts += ["\n".join(map(shown, changes(a, b))) or "The methods of both runs have the same code and settings."]
    overall, own = (rows[rows["scope"] == scope] for scope in (ALL, CELL))
    changed = own[(own["difference_low"] > 0) | (own["difference_high"] < 0)]
    if rows.empty:
        parts += ["No method was run on the same data in both."]
    else:
        parts += [_tabulated(overall.assign(cell=""), tablefmt, resplits)]
    if len(rows) and resplits and len(own) > 1:
        parts += [_tabulated(own, tablefmt, resplits)]
    elif len(rows) and not resplits:
        counts = f"{len(changed)} of {len(own)} cells changed: their interval excludes 0"
        parts += [
            f"{counts}. p is Holm's over all {len(own)}.\n\n{_tabulated(changed, tablefmt, resplits)}"
            if len(changed)
            else f"0 of {len(own)} cells changed."
        ]
    for side, name in zip(SIDES, names, strict=True):
        lines = only(found, side)
        head = f"Only in {side.upper()} = {shown(name)}:"
        parts += ["\n".join([head, *(f"- {shown(line)}" for line in lines)])] if lines else []
    for side, results in zip(SIDES, (a, b), strict=True):
        parts += [f"{side.upper()}: {shown(line)}" for line in filter(None, [results.missing_text, *results.damages])]
    return "\n\n".join(parts), rows


def _tabulated(rows: pd.DataFrame, tablefmt: str, resplits: bool) -> str:
    lines, shown = [], markdown if tablefmt == "pipe" else str
    for row in rows.to_dict("records"):
        lines.append(
            {"method": shown(row["label"])}
            | ({"cell": shown(row["cell"])} if rows["cell"].any() else {})
            | {"seeds": row["n_seeds"], "A": number(row["a"]), "B": number(row["b"])}
            | {"B - A": difference_text(row, "difference")}
            | ({} if resplits else {"p": p_text(row["p_holm"])})
            | {"failed": f"{row['failed_a']} → {row['failed_b']}"}
        )
    return tabulate(lines, "keys", tablefmt=tablefmt, disable_numparse=True)


def write(a: Results, b: Results, folder: Path) -> list[Path]:
    """compare.md, and compare.csv with every cell, in `folder`."""
    text, rows = render(a, b, "pipe")
    write_text(folder / "compare.csv", csv_text(rows))
    write_text(folder / "compare.md", f"# Comparison\n\n{text}\n")
    return [folder / "compare.md", folder / "compare.csv"]
