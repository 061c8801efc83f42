"""What a search leaves: its rows, each rule's choice, and a summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console

from bench.run.store import Store
from bench.statuses import CRASHED, FAILED, OK
from bench.tune import rules
from bench.tune.search import DEFAULTS, MEASURED, Search
from methods import methods


def write(store: Store, searches: Sequence[Search], console: Console) -> pd.DataFrame:
    """Writes trials.parquet and .csv, chosen.json and summary.md, prints the summary; returns the rows of these searches."""
    rows = store.compact()
    rows = rows[rows.question.isin([search.question for search in searches])].reset_index(drop=True)
    choices = {search.method: chosen(rows[rows.method == search.method]) for search in searches}
    store.write_text(
        "chosen.json",
        json.dumps(
            {
                search.method: {
                    rule: None if row is None else searched_fields(row) for rule, row in choices[search.method].items()
                }
                for search in searches
            },
            indent=2,
        )
        + "\n",
    )
    text = summary(rows, searches, choices)
    store.write_text("summary.md", text)
    console.print(text, soft_wrap=True, markup=False)
    console.print(f"written: {store.folder}", soft_wrap=True)
    return rows


def searched_fields(row: pd.Series) -> dict[str, Any]:
    """The values of the fields that have a search space."""
    entry = methods[row.method]
    return {name: entry.check(name, row[name]) for name in entry.spaces}


def chosen(rows: pd.DataFrame) -> dict[str, pd.Series | None]:
    """Each rule's choice among the configurations of one method that got furthest."""
    numbers = rows[["reached", *MEASURED]].astype(float)
    furthest = rows[(numbers.reached == numbers.reached.max()).to_numpy()].sort_values("number")
    table = numbers.loc[furthest.index]
    found = {name: rule(table) if len(table) else None for name, rule in rules.RULES.items()}
    return {name: None if position is None else furthest.iloc[position] for name, position in found.items()}


def summary(rows: pd.DataFrame, searches: Sequence[Search], choices: dict[str, dict[str, pd.Series | None]]) -> str:
    """The choices of all rules, method by method, as Markdown."""
    from tabulate import tabulate

    lines = []
    for search in searches:
        spaces = [name for name in methods[search.method].spaces if name not in search.settings]
        best = choices[search.method]["oracle"]
        own = rows[rows.method == search.method]
        defaults = own[(own.number == DEFAULTS) & (own.status == OK)]
        picks = dict(choices[search.method]) | {"(defaults)": None if defaults.empty else defaults.iloc[0]}
        for rule, row in picks.items():
            if row is None:
                lines.append([search.method, rule])
                continue
            cost = None if best is None else best.mcc_spearman - row.mcc_spearman
            values = ", ".join(f"{name} {row[name]:.3g}" for name in spaces)
            lines.append([search.method, rule, values] + [_number(row[name]) for name in MEASURED] + [_number(cost)])
    headers = ["method", "rule", "choice", "consistency", "fit", "sparsity", "MCC", "cost of not knowing the truth"]
    spent = [
        f"- {search.method}: {len(own)} configurations, {int((own.status == OK).sum())} of them trained to the end, "
        f"{int((own.status.isin([FAILED, CRASHED])).sum())} failed; {int(own.model_steps.sum())} model-steps"
        for search in searches
        for own in [rows[rows.method == search.method]]
    ]
    notes = [f"- {name}: {text}" for name, text in rules.DEFINITIONS.items()]
    parts = [
        "# Hyper-parameter search",
        tabulate(lines, headers, tablefmt="pipe", disable_numparse=True),
        "\n".join(spent),
        "\n".join(notes),
    ]
    return "\n\n".join(parts) + "\n"


def _number(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.3f}"
