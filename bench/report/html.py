"""The report of a run as one HTML file that needs no network: read it without scripts, sort and filter it with them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from bench.report import choices, leaderboard, opening
from bench.report import pairs as comparisons
from bench.report.figures import Drawn, Page
from bench.report.results import Results, summary
from bench.report.texts import number, place_text, seconds_text, value_text, with_interval
from bench.run.store import write_text
from bench.scores import Score
from bench.text import count

TEMPLATE = Path(__file__).with_name("report.html.jinja")
MOST_LISTED = 50_000  # trials; a page of so many has 20 MB, and a browser takes seconds to open it
NOTHING = Drawn([], [])
PHOTOGRAPHS = ("swap_grids", "traversals", "samples")  # figures whose colours are those of the data
MEANS = {
    "iqm": "The interquartile mean of the headline score over all trials: without the best and the worst quarter.",
    "pessimistic": "The mean of the headline score, a trial that failed counting as the lowest floor on the same data.",
}
COUNTS = {  # by heading, what it says, and the order to sort by first
    "seeds": ("Data sets in each cell.", "descending"),
    "ok": ("Trials that have a score, of all.", "descending"),
    "failed": ("Trials that went wrong.", "descending"),
    "train s": ("Seconds of training for a trial: those of its pack, divided by the trials in it.", "ascending"),
}
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
    "training": "Learning curves",
    "training_terms": "Terms of the loss in training",
    "halves": "Agreement with oneself, and with the known support",
    "agreement": "Agreement of equally good restarts, and score",
}


def write(
    results: Results,
    boards: Mapping[str, pd.DataFrame],
    pairs: pd.DataFrame,
    folder: Path,
    verdicts: Sequence[str] = (),
    by: Sequence[str] = (),
    command: str | None = None,
    drawn: Drawn = NOTHING,
) -> Path:
    """report.html in `folder`, from the results shown and the figures that were `drawn` of them.

    `boards` is of `bench.report.leaderboard`, by the columns `by`, and `pairs` of `bench.report.pairs`; `verdicts` are sentences to begin
    with; `command` is the one that made the report, where those of the manifest do not.
    """
    commands = results.manifest["commands"]
    overall = boards[""] if "" in boards else leaderboard.table(results)
    page = environment().get_template(TEMPLATE.name)
    text = page.render(
        name=results.manifest["name"],
        extent=_extent(results),
        opening=opening.sentences(results, overall, pairs),
        verdicts=list(verdicts),
        choices=choices.offered(results, overall),
        notes=[*_notes(boards, results), leaderboard.ties(results), *drawn.notes, *results.damages],
        board=_board(pd.concat(boards.values(), ignore_index=True), results, by),
        pairs=comparisons.texts(pairs),
        pairs_meaning=comparisons.meaning(results),
        figures=[_figure(page) for page in _ordered(drawn.pages)],
        cells=_cells(results),
        headline=_heading(results.headline),
        commands=[f"{entry['command']}  # commit {_commit(entry)}" for entry in commands] + [command] * bool(command),
        config=json.dumps(commands[-1]["config"], indent=2),
        made_with={**commands[-1]["versions"], **commands[-1]["machine"], **_versions(commands[-1])},
        definitions=_definitions(results),
        splits=results.manifest["splits"],
        entries=_entries(results),
    )
    write_text(folder / "report.html", text)
    return folder / "report.html"


def _definitions(results: Results) -> dict[str, str]:
    """Those of the manifest, of scores that no trial here has left out."""
    trials = results.trials
    empty = {name for name in results.scores if name not in trials or trials[name].isna().all()}
    return {name: text for name, text in results.manifest["definitions"].items() if name not in empty}


class Heading(NamedTuple):
    """The heading of a column: its text, what it says, and the order that a reader wants first."""

    text: str
    about: str = ""
    first: str = "ascending"


def _extent(results: Results) -> str:
    trials, varying = results.trials, results.cells
    n_cells = len(trials[varying].drop_duplicates()) if varying else 1
    seeds = count(trials["seed"].nunique(), "re-split" if results.resplit else "data seed")
    n_labels = trials["label"].nunique()
    methods = "1 method" if n_labels == 1 else f"{n_labels} methods, floors and ceilings"
    of_one = " of one data set" if results.resplit else ""
    return (
        f"{count(len(trials), 'trial')} ({int(results.failed.sum())} failed): {methods} on "
        f"{count(n_cells, 'cell')}, {seeds}{of_one}; last run {results.manifest['commands'][-1]['started_at'][:10]}."
    )


def _entries(results: Results) -> dict[str, str]:
    """What is known of the data sets and methods shown."""
    return {
        name: f"{known[name].summary} Source: {known[name].source}."
        for column, known in (("dataset", results.datasets), ("method", results.methods))
        for name in sorted(results.trials[column].unique())
        if name in known  # what an early run had and is no longer registered has its trials still
    }


def environment() -> Environment:
    loader = FileSystemLoader(TEMPLATE.parent)
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _versions(command: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {"engine version": command["engine_version"], "data version": command["data_version"]}
    return numbers | {"commit": _commit(command)}


def _commit(command: Mapping[str, Any]) -> str:
    git = command["git"]
    return f"{git.get('commit') or 'unknown'}{' (with changes)' if git.get('modified') else ''}"


def _notes(boards: Mapping[str, pd.DataFrame], results: Results) -> list[str]:
    """The notes that hold of all boards, then those that hold of one."""
    notes = {name: leaderboard.notes(board, results) for name, board in boards.items()}
    everywhere = [note for note in next(iter(notes.values())) if all(note in own for own in notes.values())]
    return everywhere + [f"{name}: {note}" for name, own in notes.items() for note in own if note not in everywhere]


def _board(rows: pd.DataFrame, results: Results, by: Sequence[str]) -> dict[str, Any]:
    """Headings and rows of the leaderboard; a cell is what it shows, what it sorts by, and how it looks."""
    scores = {name: score for name, score in results.shown().items() if rows[name].notna().any()}
    means = (
        {"iqm": "IQM", "pessimistic": "pessimistic"}
        if results.headline.name in scores and not results.lacks_truth
        else {}
    )
    ranks = [] if results.lacks_truth else ["rank"]
    headings = [Heading(field) for field in (*by, *ranks, "method", "role")]
    for score in scores.values():
        first = "ascending" if score.lower_is_better else "descending"
        headings.append(Heading(_heading(score), f"{score.definition} Source: {score.source}.", first))
    headings += [Heading(text, MEANS[name], "descending") for name, text in means.items()]
    headings += [Heading(text, about, first) for text, (about, first) in COUNTS.items()]
    body = []
    for row in rows.to_dict("records"):
        mark = "" if row["comparable"] else f" {leaderboard.MARK}"
        entries = [(value_text(row[field]), row[field], "") for field in by]
        entries += [("" if pd.isna(row["rank"]) else str(row["rank"]), row["rank"], "") for _ in ranks]
        entries += [(row["label"] + mark, row["label"], "method"), (row["role"], row["role"], "")]
        for name in scores:
            look = "best" if row[f"{name}_best"] else "tied" if row[f"{name}_tied"] else ""
            entries += [(_interval(row, name), row[name], look)]
        entries += [(number(row[name]) or "–", row[name], "") for name in means]
        entries += [(str(row["n_seeds"]), row["n_seeds"], ""), (f"{row['n_ok']}/{row['n_trials']}", row["n_ok"], "")]
        entries += [(str(row["n_failed"]), row["n_failed"], "")]
        entries += [(seconds_text(row["train_s"]), row["train_s"], "")]
        body.append(
            {"role": row["role"], "entries": [(text, "" if pd.isna(key) else key, look) for text, key, look in entries]}
        )
    return {"headings": headings, "rows": body}


def _heading(score: Score) -> str:
    return " ".join(score.heading or ("", score.name)).strip()


def _interval(row: Mapping[Any, Any], score: str) -> str:
    return with_interval(row[score], row[f"{score}_low"], row[f"{score}_high"]) or "–"


def _ordered(pages: Sequence[Page]) -> list[Page]:
    """The pages in the order in which a reader wants them, then any other."""
    return sorted(pages, key=lambda page: [*TITLES, page.name].index(page.name))


def _figure(page: Page) -> dict[str, Any]:
    svg = page.svg[page.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Ids must be unique in a page that holds several figures.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{page.name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{page.name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{page.name}-\1)", svg)
    title = TITLES.get(page.name, page.name)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
    caption = " ".join(page.caption.split())
    return {
        "name": page.name,
        "title": title,
        "svg": svg,
        "caption": caption,
        "photographs": page.name.startswith(PHOTOGRAPHS),
    }


def _cells(results: Results) -> list[dict[str, Any]]:
    """For each cell its name, the scores of its methods, and its trials, unless all together are too many for a page."""
    varying, rows = results.cells, results.trials
    is_listed = len(rows) <= MOST_LISTED
    scores = results.shown("trials")
    columns = ["label", "seed", *scores, "train_s", "status", "error", "trial_id"] if is_listed else []
    own = rows[[*dict.fromkeys([*varying, *columns])]].assign(failed=results.failed)
    groups = own.groupby(varying, dropna=False, sort=True) if varying else [((), own)]
    headline = results.headline
    summaries = summary(rows, [*varying, "label"], [headline])
    keys = [tuple(map(value_text, row)) for row in summaries[varying].to_numpy()]
    by_cell = dict(list(summaries.assign(key=keys).groupby("key", sort=False)))
    found = []
    for key, group in groups:
        values = tuple(map(value_text, key if isinstance(key, tuple) else (key,)))
        name = place_text(dict(zip(varying, values, strict=True))) or "the one cell"
        means = by_cell[values].sort_values(headline.name, ascending=headline.lower_is_better).to_dict("records")
        group = group.sort_values(["label", "seed"]) if is_listed else group
        found.append(
            {
                "name": name,
                "n_failed": int(group["failed"].sum()),
                "means": [
                    (row["label"], _interval(row, headline.name), f"{row['n_ok']}/{row['n_trials']}") for row in means
                ],
                "scores": list(map(_heading, scores.values())),
                "n_trials": len(group),
                "trials": [_trial(row, list(scores)) for row in group.to_dict("records")] if is_listed else [],
            }
        )
    return found


def _trial(row: Mapping[Any, Any], scores: Sequence[str]) -> list[str]:
    error = "" if pd.isna(row["error"]) else (str(row["error"]).strip().splitlines() or [""])[-1]
    seconds = seconds_text(row["train_s"])
    numbers = [number(row[score]) for score in scores]
    return [row["label"], str(row["seed"]), *numbers, seconds, row["status"], error, row["trial_id"]]
