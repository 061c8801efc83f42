"""The report of a run as one HTML file that needs no network: read it without scripts, sort and filter it with them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from bench import leaderboard
from bench.leaderboard import HEADLINE, SHOWN, cells, labels, number, place_text, value_text

TEMPLATE = Path(__file__).with_name("report.html.jinja")
TITLES = {  # of the figures, in the order in which a reader wants them
    "score_lines": "Score against the dials of the data",
    "phase_diagram": "Phase diagram",
    "synergy": "Synergy effect",
    "critical_difference": "Average ranks",
    "performance_profiles": "Performance profiles",
    "promise_recovery": "What was promised, and what was recovered",
    "recovered_latents": "True and recovered latents",
    "cost_score": "Cost and score",
}
TRIAL_SCORES = ("mcc_spearman", "mcc_pearson", "mcc_within", "r2_component", "r2_block")


def write(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    manifest: Mapping[str, Any],
    folder: str | Path,
    verdicts: Sequence[str] = (),
    by: Sequence[str] = (),
) -> Path:
    """report.html in `folder`, from the trials shown, the run's manifest, and the figures in `folder`/figures.

    `verdicts` are sentences to begin with; the leaderboard is ranked within each combination of the columns `by`.
    """
    folder = Path(folder)
    boards = leaderboard.boards(trials, method_fields, dataset_fields, by)
    commands = manifest["commands"]
    page = _environment().get_template(TEMPLATE.name)
    text = page.render(
        name=manifest["name"],
        verdicts=list(verdicts),
        notes=[
            f"{name}: {note}" if name else note for name, board in boards.items() for note in leaderboard.notes(board)
        ],
        board=_board(pd.concat(boards.values(), ignore_index=True), by),
        figures=[_figure(path) for path in _drawn(folder / "figures")],
        cells=_cells(trials, method_fields, dataset_fields),
        command=commands[-1]["command"],
        commands=commands,
        config=json.dumps(commands[-1]["config"], indent=2),
        made_with={**commands[-1]["versions"], **commands[-1]["machine"], **_versions(commands[-1])},
        definitions=manifest["definitions"],
        splits=manifest["splits"],
    )
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _environment() -> Environment:
    loader = FileSystemLoader(TEMPLATE.parent)
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _versions(command: Mapping[str, Any]) -> dict[str, Any]:
    git = command["git"]
    changed = " (with changes)" if git["modified"] else ""
    return {
        "engine version": command["engine_version"],
        "data version": command["data_version"],
        "commit": f"{git['commit']}{changed}",
    }


def _board(rows: pd.DataFrame, by: Sequence[str]) -> dict[str, Any]:
    """Headings and rows of the leaderboard; a cell is what it shows and what it sorts by."""
    scores = [score for score in SHOWN if rows[score].notna().any()]
    headings = [
        *by,
        "rank",
        "method",
        "role",
        *(" ".join(SHOWN[score]).strip() for score in scores),
        "ok",
        "failed",
        "train s",
    ]
    body = []
    for row in rows.to_dict("records"):
        rank = "" if pd.isna(row["rank"]) else str(row["rank"])
        mark = "" if row["comparable"] else f" {leaderboard.MARK}"
        values = [(_interval(row, score), row[score]) for score in scores]
        entries = [(value_text(row[field]), row[field]) for field in by]
        entries += [(rank, row["rank"]), (row["label"] + mark, row["label"]), (row["role"], row["role"]), *values]
        entries += [(f"{row['n_ok']}/{row['n_trials']}", row["n_ok"]), (str(row["n_failed"]), row["n_failed"])]
        entries += [("–" if pd.isna(row["train_s"]) else f"{row['train_s']:.2g}", row["train_s"])]
        body.append({"role": row["role"], "entries": [(text, "" if pd.isna(key) else key) for text, key in entries]})
    return {"headings": headings, "rows": body}


def _interval(row: Mapping[Any, Any], score: str) -> str:
    if pd.isna(row[score]):
        return "–"
    half = number(row[f"{score}_half"])
    return number(row[score]) + (f" ± {half}" if half else "")


def _drawn(folder: Path) -> list[Path]:
    """The figures, in the order in which a reader wants them, then any other."""
    return sorted(folder.glob("*.svg"), key=lambda path: [*TITLES, path.stem].index(path.stem))


def _figure(path: Path) -> dict[str, str]:
    svg = path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Ids must be unique in a page that holds several figures.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{path.stem}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{path.stem}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{path.stem}-\1)", svg)
    title = TITLES.get(path.stem, path.stem)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
    caption = " ".join(path.with_suffix(".txt").read_text(encoding="utf-8").split())
    return {"name": path.stem, "title": title, "svg": svg, "caption": caption}


def _cells(trials: pd.DataFrame, method_fields: Sequence[str], dataset_fields: Sequence[str]) -> list[dict[str, Any]]:
    """For each cell its name, the scores of its methods, and its trials."""
    varying = cells(trials, dataset_fields)
    rows = trials.assign(label=labels(trials, method_fields))
    groups = rows.groupby(varying, dropna=False, sort=True) if varying else [((), rows)]
    summaries = leaderboard.summary(rows, [*varying, "label"])
    keys = [tuple(map(value_text, row)) for row in summaries[varying].to_numpy()]
    by_cell = dict(list(summaries.assign(key=keys).groupby("key", sort=False)))
    scores = [score for score in TRIAL_SCORES if score in rows]
    found = []
    for key, group in groups:
        values = tuple(map(value_text, key if isinstance(key, tuple) else (key,)))
        name = place_text(dict(zip(varying, values, strict=True))) or "the one cell"
        means = by_cell[values].sort_values(HEADLINE, ascending=False).to_dict("records")
        group = group.sort_values(["label", "seed"])
        found.append(
            {
                "name": name,
                "n_failed": int(leaderboard.is_failed(group).sum()),
                "means": [
                    (row["label"], _interval(row, HEADLINE), f"{row['n_ok']}/{row['n_trials']}") for row in means
                ],
                "scores": [" ".join(SHOWN[score]) for score in scores],
                "trials": [_trial(row, scores) for row in group.to_dict("records")],
            }
        )
    return found


def _trial(row: Mapping[Any, Any], scores: Sequence[str]) -> list[str]:
    error = (str(row["error"]).strip().splitlines() or [""])[-1] if row["error"] and not pd.isna(row["error"]) else ""
    seconds = "" if pd.isna(row["train_s"]) else f"{row['train_s']:.2g}"
    return [
        row["label"],
        str(row["seed"]),
        *(number(row[s]) for s in scores),
        seconds,
        row["status"],
        error,
        row["trial_id"],
    ]
