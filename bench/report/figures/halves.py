"""Does a method that agrees with itself find what is known? The agreement of halves beside the score of the support."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench.report.figures import page
from bench.report.figures.looks import Look, legend, looks_of
from bench.report.results import SUPPORT, Results, summary
from bench.report.texts import seeds_text
from bench.scores.training import HALVES, HALVES_CHANCE

PAIRS = ((HALVES.name, HALVES_CHANCE.name), (SUPPORT, f"{SUPPORT}_chance"))


@page.printed
def agreement_of_halves(results: Results, folder: str | Path) -> list[Path]:
    """halves.*: the agreement of halves of each label against its score of the support, in every cell, with both by chance.

    Nothing where no label has both.
    """
    names = [name for pair in PAIRS for name in pair]
    if any(name not in results.trials or results.trials[name].isna().all() for name in (HALVES.name, SUPPORT)):
        return []
    rows = summary(results.trials, ["label", "role", *results.cells], [results.scores[name] for name in names])
    rows = rows.dropna(subset=[HALVES.name, SUPPORT]).reset_index(drop=True)
    if rows.empty:
        return []
    shown = looks_of(results, rows["label"])
    caption = (
        f"{results.scores[SUPPORT].axis}, against the agreement of halves, of each method in each cell: means over {seeds_text(rows)}. Dashed: "
        "what both are by chance. Above the grey line the support is better than the agreement says; below it a method agrees with "
        f"itself more than with what is known. {page.counts(results)}"
    )
    return page.save(_draw(rows, shown, results), rows, caption, folder, "halves")


def _draw(rows: pd.DataFrame, shown: dict[str, Look], results: Results) -> Figure:
    figure, (axes,) = page.panels(1, 1, max(2.6, 0.4 + 0.145 * len(shown)))
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, zorder=0)
    chance: dict[str, Any] = {"color": "0.5", "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 0}
    axes.axvline(rows[PAIRS[0][1]].mean(), **chance)
    axes.axhline(rows[PAIRS[1][1]].mean(), **chance)
    for label, look in shown.items():
        own = rows[rows["label"] == label]
        marker: Any = look.marker
        axes.scatter(own[HALVES.name], own[SUPPORT], s=12, color=look.colour, marker=marker, linewidths=0, alpha=0.8)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel=HALVES.axis, ylabel=results.scores[SUPPORT].axis)
    figure.legend(loc="outside right upper", **legend(shown, with_lines=False))
    return figure
