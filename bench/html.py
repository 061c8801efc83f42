"""The report of a run as one HTML file that needs no network: read it without scripts, sort and filter it with them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from bench import comparisons, leaderboard
from bench.leaderboard import HEADLINE, SHOWN, cells, labels, number, place_text, value_text, with_interval
from datasets import datasets
from methods import methods

TEMPLATE = Path(__file__).with_name("report.html.jinja")
TITLES = {  # of the figures, in the order in which a reader wants them
    "score_lines": "Score against the dials of the data",
    "phase_diagram": "Phase diagram",
    "synergy": "Synergy effect",
    "critical_difference": "Average ranks",
    "performance_profiles": "Performance profiles",
    "promise_recovery": "What was promised, and what was recovered",
    "recovered_latents": "True and recovered latents",
    "recovered_support": "True and recovered support of the mixing",
    "cost_score": "Cost and score",
}
TRIAL_SCORES = ("mcc_spearman", "mcc_pearson", "mcc_within", "r2_component", "r2_block")


def write(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    boards: Mapping[str, pd.DataFrame],
    pairs: pd.DataFrame,
    manifest: Mapping[str, Any],
    folder: str | Path,
    verdicts: Sequence[str] = (),
    by: Sequence[str] = (),
    command: str | None = None,
) -> Path:
    """report.html in `folder`, from the trials shown, the run's manifest, and the figures in `folder`/figures.

    `boards` is of `bench.leaderboard`, by the columns `by`, and `pairs` of `bench.comparisons`; `verdicts` are sentences to begin with;
    `command` is the one that made the report, where those of the manifest do not.
    """
    folder = Path(folder)
    commands = manifest["commands"]
    page = _environment().get_template(TEMPLATE.name)
    text = page.render(
        name=manifest["name"],
        extent=_extent(trials, method_fields, dataset_fields, commands),
        verdicts=list(verdicts),
        notes=[*_notes(boards), leaderboard.TIES],
        board=_board(pd.concat(boards.values(), ignore_index=True), by),
        pairs=comparisons.texts(pairs),
        pairs_meaning=comparisons.MEANING,
        figures=[_figure(path) for path in _drawn(folder / "figures")],
        cells=_cells(trials, method_fields, dataset_fields),
        commands=[f"{entry['command']}  # commit {_commit(entry)}" for entry in commands] + [command] * bool(command),
        config=json.dumps(commands[-1]["config"], indent=2),
        made_with={**commands[-1]["versions"], **commands[-1]["machine"], **_versions(commands[-1])},
        definitions=manifest["definitions"],
        splits=manifest["splits"],
        entries=_entries(trials),
    )
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _extent(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    commands: Sequence[Mapping[str, Any]],
) -> str:
    n_methods = labels(trials, method_fields).nunique()
    varying = cells(trials, dataset_fields)
    n_cells = len(trials[varying].drop_duplicates()) if varying else 1
    n_failed = int(leaderboard.is_failed(trials).sum())
    return (
        f"{len(trials)} trials ({n_failed} failed): {n_methods} methods, floors and ceilings on {n_cells} cells, "
        f"{trials['seed'].nunique()} data seeds; last run {commands[-1]['started_at'][:10]}."
    )


def _entries(trials: pd.DataFrame) -> dict[str, str]:
    """What the registries say of the data sets and methods shown."""
    return {
        name: f"{registry[name].summary} Source: {registry[name].source}."
        for column, registry in (("dataset", datasets), ("method", methods))
        for name in sorted(trials[column].unique())
        if name in registry.names()  # what is no longer registered has its trials still
    }


def _environment() -> Environment:
    loader = FileSystemLoader(TEMPLATE.parent)
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _versions(command: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {"engine version": command["engine_version"], "data version": command["data_version"]}
    return numbers | {"commit": _commit(command)}


def _commit(command: Mapping[str, Any]) -> str:
    git = command["git"]
    return f"{git['commit'] or 'unknown'}{' (with changes)' if git['modified'] else ''}"


def _notes(boards: Mapping[str, pd.DataFrame]) -> list[str]:
    """What holds of all boards, then what holds of one."""
    notes = {name: leaderboard.notes(board) for name, board in boards.items()}
    everywhere = [note for note in next(iter(notes.values())) if all(note in own for own in notes.values())]
    return everywhere + [f"{name}: {note}" for name, own in notes.items() for note in own if note not in everywhere]


def _board(rows: pd.DataFrame, by: Sequence[str]) -> dict[str, Any]:
    """Headings and rows of the leaderboard; a cell is what it shows, what it sorts by, and how it looks."""
    scores = [score for score in SHOWN if rows[score].notna().any()]
    means = {"iqm": "IQM", "pessimistic": "pessimistic"} if HEADLINE in scores else {}
    headings = [*by, "rank", "method", "role", *(" ".join(SHOWN[score]).strip() for score in scores), *means.values()]
    headings += ["seeds", "ok", "failed", "train s"]
    body = []
    for row in rows.to_dict("records"):
        mark = "" if row["comparable"] else f" {leaderboard.MARK}"
        entries = [(value_text(row[field]), row[field], "") for field in by]
        entries += [("" if pd.isna(row["rank"]) else str(row["rank"]), row["rank"], "")]
        entries += [(row["label"] + mark, row["label"], "method"), (row["role"], row["role"], "")]
        for score in scores:
            look = "best" if row[f"{score}_best"] else "tied" if row[f"{score}_tied"] else ""
            entries += [(_interval(row, score), row[score], look)]
        entries += [(number(row[name]) or "–", row[name], "") for name in means]
        entries += [(str(row["n_seeds"]), row["n_seeds"], ""), (f"{row['n_ok']}/{row['n_trials']}", row["n_ok"], "")]
        entries += [(str(row["n_failed"]), row["n_failed"], "")]
        entries += [("–" if pd.isna(row["train_s"]) else f"{row['train_s']:.2g}", row["train_s"], "")]
        body.append(
            {"role": row["role"], "entries": [(text, "" if pd.isna(key) else key, look) for text, key, look in entries]}
        )
    return {"headings": headings, "rows": body}


def _interval(row: Mapping[Any, Any], score: str) -> str:
    if pd.isna(row[score]):
        return "–"
    return with_interval(row[score], row[f"{score}_low"], row[f"{score}_high"])


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
