"""The figure of report.html that follows its reader's choices: the numbers that it can show, and how methods look in it.

choices.js is the other half, which runs in the page and draws with Vega-Lite.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import vl_convert
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

from bench.report.figures import page
from bench.report.figures.looks import MOST as MOST_TICKED
from bench.report.figures.looks import Look, Marker, looks
from bench.report.leaderboard import WITHOUT_TRUTH
from bench.report.results import COUNTED, RESPLITS, Results, summary
from bench.report.texts import seeds_text
from bench.scores import Score

MOST = 20_000  # means that a page holds; with their intervals they take half a megabyte
COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


def offered(results: Results, board: pd.DataFrame) -> dict[str, Any] | None:
    """All that the page needs for the figure, as plain values; None where there is nothing to show, or too much for a page.

    `board` is the leaderboard of all trials, whose numbers are shown where no cell is chosen; those of cells are of the `summary` that the
    leaderboard is made by. A reader chooses values of some dials, and what is left open is averaged over. The means of every choice are
    in the page, no more than `MOST`: where they are more, those of choices on fewer dials at a time, of which `most_dials` says the number.
    """
    scores = [score for name, score in results.shown().items() if board[name].notna().any()]
    shown = looks(results)
    labels = [label for label in shown if label in set(board["label"])]
    dials = [page.axis(field, results.trials[field]) for field in _dials(results)]
    fields, names = [dial.field for dial in dials], [score.name for score in scores]
    columns = ["label", "seed", "dataset", *fields, *names, *COUNTED, RESPLITS]
    trials = page.with_texts(results.trials[[*dict.fromkeys(columns)]], fields)
    trials = trials[trials["label"].isin(labels)]
    places = trials[["label", *fields]].drop_duplicates()
    found, n_means = [], 0
    for n_dials in range(len(fields) + 1):
        subsets = list(itertools.combinations(fields, n_dials))
        n_means += len(scores) * sum(len(places[["label", *chosen]].drop_duplicates()) for chosen in subsets)
        if n_means > MOST:
            break
        found.append(subsets)
    if not found or not n_means:
        return None
    most_dials = len(found) - 1
    dials = dials if most_dials else []
    rows = []
    for chosen in itertools.chain(*found):
        means = summary(trials, ["label", *chosen], scores) if chosen else board
        rows += [_row(row, labels, dials, chosen, names) for row in means.to_dict("records")]
    best = board.loc[board["role"] == "method", "label"].head(MOST_TICKED)
    ticked = {*best, *board.loc[board["role"].isin(["floor", "ceiling"]), "label"]}
    numbers = {
        "scores": [_score(score, results) for score in scores],
        "first": names.index(results.headline.name) if results.headline.name in names else 0,
        "dials": [
            {
                "word": page.word(dial.field),
                "inside": page.lower(dial.field),
                "levels": dial.levels,
                "joined": dial.is_numeric,
            }
            for dial in dials
        ],
        "most_dials": most_dials,
        "methods": [{"label": label, "ticked": label in ticked} | _look(shown[label]) for label in labels],
        "rows": rows,
    }
    caption = f"Points: means over {seeds_text(board)} on the test split. {page.interval(board, 'Bars')}"
    return {"numbers": numbers, "caption": caption, "script": script()}


def _dials(results: Results) -> list[str]:
    """The dials of the data, those first that figures show first."""
    return [*dict.fromkeys([*page.choose(results), *results.dials()])]


def _score(score: Score, results: Results) -> dict[str, Any]:
    better = "Lower is better." if score.lower_is_better else "Higher is better."
    about = f"{better} {score.definition}" if score.heading else score.definition
    if results.lacks_truth:
        about = WITHOUT_TRUTH.get(score.name, about)
    name = " ".join(score.heading or ("", score.name)).strip()
    return {
        "name": name,
        "axis": score.axis.replace("$R^2$", "R²"),
        "about": about,
        "lower_is_better": score.lower_is_better,
    }


def _row(
    row: dict[Any, Any], labels: list[str], dials: Sequence[page.Axis], chosen: Sequence[str], scores: Sequence[str]
) -> list[Any]:
    """The label and the levels by their number, None where a dial is left open; ok trials and all; mean, low and high of each score.

    As many digits as the leaderboard shows.
    """
    levels = [dial.levels.index(row[dial.field]) if dial.field in chosen else None for dial in dials]
    means = [row[score + end] for score in scores for end in ("", "_low", "_high")]
    numbers = [round(float(mean), 3) if math.isfinite(mean) else None for mean in means]
    return [labels.index(row["label"]), levels, int(row["n_ok"]), int(row["n_trials"]), numbers]


# --- how methods look


def _look(look: Look) -> dict[str, Any]:
    """The colour, marker, dashes and size of a look, as SVG has them."""
    dash = [] if look.line == "-" else [round(2 * length, 1) for length in look.line[1]]
    return {"colour": look.colour, "shape": _shape(look.marker), "dash": dash, "size": round(look.size / 3.4, 2)}


def _shape(marker: Marker) -> str:
    """A marker of matplotlib as a path of SVG, between about -1 and 1."""
    style = MarkerStyle(marker)  # type: ignore[arg-type]  # it takes a tuple too
    path = style.get_path().transformed(style.get_transform())
    parts = []
    for vertices, code in path.iter_segments(simplify=False):
        flipped = vertices.reshape(-1, 2) * [2, -2]
        is_end = code == Path.CLOSEPOLY
        parts.append(COMMANDS[code] + ("" if is_end else ",".join(f"{value:.3f}" for value in flipped.ravel())))
    return "".join(parts)


@functools.cache
def script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which defines `vegaEmbed`; the making takes two seconds, once."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
