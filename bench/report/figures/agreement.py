"""Does the agreement of restarts that fit equally well, which needs no truth, tell how much of the truth was recovered?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from bench.report.figures import page
from bench.report.figures.looks import Look, legend, looks_of
from bench.report.results import Results
from bench.report.texts import number
from bench.scores import HEADLINE

LEAST = 5  # trials of which a rank correlation means something
MOST_SHAPES = 20_000  # more trials are pixels in every format: as shapes they would be too many for a reader's machine


@page.printed
def agreement_and_score(results: Results, folder: str | Path) -> list[Path]:
    """agreement.*: each trial's score against the agreement of its ties, with the rank correlation over all."""
    columns = ["label", "seed", *results.cells, "agreement", "n_ties", HEADLINE]
    rows = results.trials.loc[results.ok & (results.trials["role"] == "method"), columns]
    rows = rows.dropna(subset=["agreement", HEADLINE])
    if len(rows) < LEAST:
        return []
    shown = looks_of(results, rows["label"])
    axis = results.scores[HEADLINE].axis
    correlation = spearmanr(rows["agreement"], rows[HEADLINE]).statistic
    caption = (
        f"{axis}, against the agreement of the restarts that fit equally well, of each of {len(rows)} trials that have two or more. Spearman's "
        f"rank correlation over all trials: {number(correlation, 2)}. Grey line: score and agreement are equal. {page.counts(results)}"
    )
    return page.save(_draw(rows, shown, axis, results), rows, caption, folder, "agreement")


def _draw(rows: pd.DataFrame, shown: dict[str, Look], y_label: str, results: Results) -> Figure:
    figure, (axes,) = page.panels(1, 1, 2.6)
    low = min(rows["agreement"].min(), rows[HEADLINE].min()) - 0.02
    axes.plot([low, 1], [low, 1], color="0.7", linewidth=0.8, zorder=0)
    for label, look in shown.items():
        own = rows[rows["label"] == label]
        marker: Any = look.marker
        axes.scatter(
            own["agreement"], own[HEADLINE], s=7, color=look.colour, marker=marker, alpha=0.6, linewidths=0,
            rasterized=len(rows) > MOST_SHAPES,
        )  # fmt: skip
    axes.set(xlim=(low, 1.01), ylim=(low, 1.01), xlabel=results.scores["agreement"].axis, ylabel=y_label)
    figure.legend(loc="outside right upper", **legend(shown, with_lines=False))
    return figure
