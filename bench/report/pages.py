"""Static pages of several runs: an index with a leaderboard for each data set and grid, and beside it the report of each run.

All links are relative and nothing is fetched, so that any host can serve the folder, or a browser open it from a disk. Trains nothing.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
from rich.console import Console

from bench.files import read_bytes
from bench.plan.identity import digest
from bench.plan.trials import SHAPE
from bench.registry import Entry, UsageError
from bench.report import html, leaderboard
from bench.report import write as report
from bench.report.results import Results, gather, registered
from bench.report.texts import number, seconds_text, value_text, with_interval
from bench.run import submissions
from bench.run.store import ARCHIVE, Store, check_links, write_text
from bench.text import count
from datasets import DATA_VERSION

TEMPLATE, INDEX = "pages.html.jinja", "index.html"
MARK = "site.json"  # in a folder that `site` wrote: the runs that it has pages of
RUNS = "runs"
NAME = re.compile(r"[\w=,+-][\w.=,+-]*")
HOME = '<p><a href="../../index.html">← All runs</a></p>'


def write(folders: Sequence[Path], out: Path) -> list[str]:
    """Pages of the runs in `folders`, in `out`; returns what there is to say about it, a sentence each.

    Raises UsageError, before anything is written, for a run that cannot be read, and for a folder that holds what `site` did not write.
    """
    former = _former(out)
    names = _names(folders)
    found = {name: gather([Store(folder)]) for name, folder in names.items()}
    boards = [_board(names, group) for group in _groups(found)]
    for name in former:  # what is left of an earlier run of this name would look like a part of this one
        shutil.rmtree(out / RUNS / name, ignore_errors=True)
    for name, results in found.items():
        folder = out / RUNS / name
        report.write(results, folder, Console(quiet=True))
        page = (folder / "report.html").read_text()
        write_text(folder / "report.html", page.replace("<body>", f"<body>\n{HOME}", 1))
    text = (
        html.environment()
        .get_template(TEMPLATE)
        .render(style=_style(), boards=boards, runs=[_run(name, results) for name, results in found.items()])
    )
    write_text(out / INDEX, text)
    write_text(out / MARK, json.dumps({"runs": list(found)}) + "\n")
    damages = [damage for results in found.values() for damage in results.damages]
    return [
        *damages,
        f"{count(len(boards), 'leaderboard')} and {count(len(found), 'run')}: open {out / INDEX}, or copy {out} to any host",
    ]


def _former(out: Path) -> list[str]:
    """The runs of which `out` has pages already. Raises UsageError where it is no new or empty folder, and none that `site` wrote."""
    try:
        if not out.exists() or not any(out.iterdir()):
            return []
        about = json.loads(read_bytes(out / MARK))
        names = [name for name in about["runs"] if NAME.fullmatch(name)]
        check_links(out)
        check_links(out / RUNS)
        return names
    except (OSError, ValueError, TypeError, KeyError):
        raise UsageError(f"{out} holds what `site` did not write; name a new or an empty folder with --out") from None


def _names(folders: Sequence[Path]) -> dict[str, Path]:
    """The folders of runs by the names of their pages, each once."""
    found: dict[str, Path] = {}
    for folder in folders:
        name = start = re.sub(r"[^\w.=,+-]", "-", folder.resolve().name).lstrip(".") or "run"
        number = 1
        while name in found:
            number += 1
            name = f"{start}-{number}"
        found[name] = folder
    return found


# --- the boards


def _groups(found: Mapping[str, Results]) -> list[list[tuple[str, Results]]]:
    """Runs whose trials are on the same data sets, cells and root seeds, which can stand on one board."""
    groups: dict[str, list[tuple[str, Results]]] = {}
    for name, results in found.items():
        cells = results.trials[["dataset", "root_seed", *results.dataset_fields]].drop_duplicates()
        # By what a field is worth: a run in which another field varies has other columns, of one value.
        rows = sorted(
            {json.dumps({k: value_text(v) for k, v in row.items()}, sort_keys=True) for row in cells.to_dict("records")}
        )
        version = results.manifest["commands"][-1]["data_version"]
        groups.setdefault(digest([version, rows]), []).append((name, results))
    return list(groups.values())


def _board(names: Mapping[str, Path], group: Sequence[tuple[str, Results]]) -> dict[str, Any]:
    """What the index shows of runs on the same data: a title, the headings and rows of the board, and its notes."""
    results = group[0][1] if len(group) == 1 else gather([Store(names[name]) for name, _ in group])
    pages = {
        run: next(name for name, folder in names.items() if folder == store.folder)
        for run, store in results.stores.items()
    }
    table = leaderboard.table(results)
    shown = [name for name in results.shown("terminal") if table[name].notna().any()]
    known = submissions.of(results.manifest)
    rows = []
    for row in table.to_dict("records"):
        own = results.trials[results.trials["label"] == row["label"]]
        digests = own[ARCHIVE].dropna().unique() if ARCHIVE in own else []
        rows.append(
            {
                "role": row["role"],
                "rank": "" if pd.isna(row["rank"]) else str(row["rank"]),
                "label": row["label"],
                "scores": [_score(row, name, results) for name in shown],
                "iqm": number(row["iqm"]) or "–",
                "ok": f"{row['n_ok']}/{row['n_trials']}",
                "train": seconds_text(row["train_s"]),
                "runs": [pages[run] for run in own["run"].unique()],
                "by": [(known[each].who, known[each].standing) for each in digests if each in known],
            }
        )
    return {
        "title": _title(results),
        "is_ranked": not results.lacks_truth,
        "headings": [" ".join(results.scores[name].heading or (name,)).strip() for name in shown],
        "rows": rows,
        "notes": leaderboard.notes(table, results),
        "definitions": {
            " ".join(score.heading or (name,)).strip(): score.definition for name, score in results.shown().items()
        },
        "is_submitted": any(row["by"] for row in rows),
    }


def _score(row: Mapping[Any, Any], name: str, results: Results) -> tuple[str, str]:
    """A score as a text, with its interval if it is the one that ranks, and whether it is the best."""
    is_headline = name == results.headline.name
    text = with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) if is_headline else number(row[name])
    return text or "–", "best" if row[f"{name}_best"] else "tied" if row[f"{name}_tied"] else ""


def _title(results: Results) -> str:
    """The data sets of a board, with the values of what varies between its cells, and of what is not as usual."""
    trials = results.trials
    parts = []
    for field in [field for field in results.cells if field != "dataset"]:
        parts.append(f"{field} {', '.join(map(value_text, sorted(trials[field].unique(), key=_order)))}")
    known = {entry.name: entry for entry in registered(trials)}
    for name in sorted(trials["dataset"].unique()):
        own, entry = trials[trials["dataset"] == name], known.get(name)
        fields = entry.fields if entry else results.datasets[name].fields
        for field in [field for field in fields if field in own and field not in results.cells]:
            value = value_text(own[field].iloc[0])
            if entry is None:  # of a plug-in: what is usual there, is not known
                parts.append(f"{field} {value}")
            elif value != value_text(_usual(entry, field, own.iloc[0])):
                parts.append(f"{field} {PurePath(value).name if entry.fields[field].metadata['is_path'] else value}")
    seeds = sorted({str(seed) for seed in trials["root_seed"].unique()})
    parts += [f"root seed {', '.join(seeds)}"]
    version = results.manifest["commands"][-1]["data_version"]
    parts += [f"data version {version}"] * (version != DATA_VERSION)
    return f"{', '.join(sorted(trials['dataset'].unique()))}: {'; '.join(parts)}"


def _usual(entry: Entry, field: str, row: pd.Series) -> Any:
    """What a field of a data set is worth where nobody sets it: one of `SHAPE` that is none is then the data's own number.

    That of a user's file would have to be read from it, and is no setting.
    """
    usual = entry.defaults[field]
    if usual is not None or field not in SHAPE:
        return usual
    if hasattr(entry.cls, "fingerprint"):
        return row[field]
    set_ones = [
        name for name in entry.fields if name in row and (name not in SHAPE or entry.defaults[name] is not None)
    ]
    try:
        others = {name: entry.check(name, value_text(row[name])) for name in set_ones}
        return dict(zip(SHAPE, entry.make(others).shape, strict=True))[field]
    except UsageError:  # a damaged row
        return usual


def _order(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, (int, float)) and value == value
    return not is_number, float(value) if is_number else 0.0, str(value)


def _run(name: str, results: Results) -> dict[str, Any]:
    """What the index says of a run."""
    last = results.manifest["commands"][-1]
    n = len(results.trials)
    own = submissions.of(results.manifest).values()
    return {
        "name": name,
        "data": ", ".join(sorted(results.trials["dataset"].unique())),
        "methods": str(results.trials["method"].nunique()),
        "trials": f"{n} ({int(results.failed.sum())} failed)",
        "date": str(last["started_at"])[:10],
        "commit": str(last["git"].get("commit") or "unknown")[:12],
        "by": [(each.who, each.standing) for each in own],
    }


def _style() -> str:
    """The style of the reports, which the index shares."""
    return html.TEMPLATE.read_text().partition("<style>")[2].partition("</style>")[0]
