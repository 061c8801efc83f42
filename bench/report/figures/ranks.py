"""The average ranks of the methods over data seeds, and which of them do not differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.report.figures import page
from bench.report.figures.looks import Look, looks, marker
from bench.report.results import COUNTED, Results, score_array
from bench.report.texts import seeds_text
from bench.scores import HEADLINE, statistics

SHORTEST = 1.5  # inches of the line of ranks between names on its two sides


@page.printed
def critical_difference(results: Results, folder: str | Path) -> list[Path]:
    """critical_difference.*: average ranks of the methods over data seeds; a bar joins those that do not differ (Demsar 2006).

    Nothing where fewer than three methods share two data seeds, or where these only split one data set anew.
    """
    rows = _ranks(results)
    if rows.empty:
        return []
    difference, p = rows.loc[0, ["critical_difference", "p_friedman"]]
    caption = (
        f"Average ranks by {results.scores[HEADLINE].axis} over {seeds_text(rows)} (1 is best; a seed's score is the mean over the cells in "
        f"which every method has one). Bars join methods whose ranks differ by less than the critical difference of Nemenyi's test "
        f"at 5 %, {difference:.2f}; Friedman's test: p = {p:.2g}. Floors and ceiling take no part. {page.counts(results)}"
    )
    return page.save(_draw(rows, looks(results)), rows, caption, folder, "critical_difference")


def _ranks(results: Results) -> pd.DataFrame:
    """One row per method, the best first: label, rank; critical_difference, n_seeds and p_friedman, which are those of all."""
    scored = results.ok & results.trials[HEADLINE].notna() & (results.trials["role"] == "method")
    columns = [*dict.fromkeys(["label", "seed", *results.cells, *COUNTED])]
    own = score_array(results.trials.loc[scored, columns], results.cells)
    complete = ~np.isnan(own.values).any(axis=0)
    by_seed = statistics.mean_along(np.where(complete, own.values, np.nan), -1)[:, complete.any(axis=1), 0]
    if len(by_seed) < 3 or by_seed.shape[1] < 2 or results.resplit:
        return pd.DataFrame()
    found = statistics.average_ranks(by_seed)
    rows = pd.DataFrame({"label": own.labels, "rank": found.ranks}).sort_values(["rank", "label"], ignore_index=True)
    return rows.assign(critical_difference=found.critical_difference, n_seeds=found.n_blocks, p_friedman=found.p)


def _draw(rows: pd.DataFrame, shown: Mapping[str, Look]) -> Figure:
    n_methods, difference = len(rows), rows["critical_difference"].iloc[0]
    bars = undecided(rows["rank"].to_numpy(), difference)
    names = [page.wrapped(label, 1.4) for label in rows["label"]]
    margin = 0.5 + page.CHARACTER * 1.15 * max(len(line) for name in names for line in name.split("\n"))
    has_room = page.width() - 2 * margin >= SHORTEST  # for names on both sides
    half = math.ceil(n_methods / 2) if has_room else n_methods
    right = page.width() - (margin if has_room else 0.2)
    step = 0.05 + 0.11 * max(name.count("\n") + 1 for name in names)
    depth = 0.14 * len(bars) + 0.1
    height = 0.55 + depth + step * half
    figure = Figure(figsize=(page.width(), height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, page.width()), ylim=(-height + 0.42, 0.42))  # in inches; the ranks run along 0

    def at(rank: float) -> float:
        return margin + (right - margin) * (rank - 1) / (n_methods - 1)

    axes.plot([at(1), at(n_methods)], [0, 0], color="black", linewidth=0.8)
    for rank in range(1, n_methods + 1):
        axes.plot([at(rank)] * 2, [0, 0.05], color="black", linewidth=0.6)
        if (rank - 1) % math.ceil(0.15 / (at(2) - at(1))) == 0:  # where there is room
            axes.text(at(rank), 0.07, str(rank), ha="center", va="bottom", fontsize=7)
    for place, (label, name, rank) in enumerate(zip(rows["label"], names, rows["rank"], strict=True)):
        is_left = place < half
        level = -depth - step * (place if is_left else n_methods - 1 - place)
        side, sign = (margin - 0.12, -1) if is_left else (right + 0.12, 1)
        axes.plot([at(rank), at(rank), side], [0, level, level], color="0.45", linewidth=0.6)
        axes.plot([at(rank)], [0], clip_on=False, zorder=3, **marker(shown[label]))
        anchor: Any = {"ha": "right" if is_left else "left", "va": "center_baseline", "fontsize": 7, "linespacing": 1.0}
        axes.text(side + 0.05 * sign, level, f"{rank:.1f}", **anchor)
        axes.text(side + 0.27 * sign, level, name, **anchor)
    for level, (first, last) in enumerate(bars):
        y, ends = -0.09 - 0.12 * level, [at(first) - 0.04, at(last) + 0.04]
        axes.plot(ends, [y, y], color="black", linewidth=2.2, solid_capstyle="butt", zorder=2)
    end = at(1 + min(difference, n_methods - 1))
    axes.plot([at(1), end], [0.26, 0.26], color="black", linewidth=0.8, marker="|", markersize=4)
    text = f"critical difference {difference:.2f}"
    if end + page.CHARACTER * len(text) <= page.width():
        axes.text(end + 0.06, 0.26, text, ha="left", va="center", fontsize=7)
    else:
        axes.text(at(1), 0.3, text, ha="left", va="bottom", fontsize=7)
    return figure


def undecided(ranks: np.ndarray, difference: float) -> list[tuple[float, float]]:
    """First and last of the longest runs of sorted `ranks` that span less than the difference, at least two methods each."""
    ends = [int(np.searchsorted(ranks, rank + difference, side="left")) - 1 for rank in ranks]
    longest = [(a, b) for a, b in enumerate(ends) if b > a and (a == 0 or b > ends[a - 1])]
    return [(float(ranks[a]), float(ranks[b])) for a, b in longest]
