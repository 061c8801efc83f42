"""What theory promised of each latent, and how well the methods recovered it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.report import recovery
from bench.report.figures import page
from bench.report.figures.looks import Look, draw_points, fit, looks_of
from bench.report.results import Results
from bench.report.texts import seeds_text

NARROWEST = 1.1  # inches of a panel
ROW, LEAST_ROW = 0.12, 0.08  # inches for each method of a panel, and where there are many
MEANINGS = {
    "gain": "Gain in the MCC of single latents over the best floor, by what theory promises of them",
    "score": "MCC of single latents, test, by what theory promises of them",
}


@page.printed
def recovery_by_promise(results: Results, folder: str | Path) -> list[Path]:
    """promise_recovery.*: how much better than the best floor single latents are recovered, a row per method and ceiling.

    There is a panel for each kind of data and each thing that theory promises of latents. A run without floors shows the scores themselves.
    Nothing where the oracle's verdicts or the scores of single latents are not there.
    """
    rows = recovery.table(results)
    if rows.empty:
        return []
    value = "gain" if rows["gain"].notna().any() else "score"
    if (rows["role"] != "floor").any():
        rows = rows[rows["role"] != "floor"]
    present = {promise: meaning for promise, meaning in recovery.PROMISES.items() if promise in set(rows["promise"])}
    meanings = "; ".join(f'"{promise}" {meaning}' for promise, meaning in present.items())
    what = "MCC of single latents (Spearman, test split)"
    if value == "gain":
        what = f"Gain in the {what} over the floor that is best on the latents of the same cell and promise"
    caption = (
        f"{what}, by what theory promises of each latent: {meanings}. Sufficient conditions, not necessary ones. n: the number of latents for one "
        f"method. Markers: means over {seeds_text(rows)} of the seed's mean over latents and numbers of domains; those of a method are filled where "
        f"theory promises that what it assumes suffices for all of these latents, and open elsewhere. "
        f"{page.interval(rows, 'Bars')}{page.counts(results)}"
    )
    shown = looks_of(results, rows["label"])
    return page.save(_draw(rows, shown, value), rows, caption, folder, "promise_recovery")


def _draw(rows: pd.DataFrame, shown: Mapping[str, Look], value: str) -> Figure:
    """A panel for each kind of data and promise of `rows`."""
    order = list(recovery.PROMISES)
    panels = sorted(rows.groupby(["data", "promise"]), key=lambda panel: (panel[0][0], order.index(panel[0][1])))
    names_width = page.CHARACTER * max(map(len, shown))
    n_columns = max(1, min(3, len(panels), int((page.width() - names_width) / NARROWEST)))
    n_rows = math.ceil(len(panels) / n_columns)
    titles = []
    for (data, promise), own in panels:
        lines = [*[data] * bool(data), f"{promise} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{own['n_latents'].max()})"]
        titles.append("\n".join(page.wrapped(line, (page.width() - names_width) / n_columns - 0.1) for line in lines))
    title_height = 0.15 + 0.11 * max(title.count("\n") + 1 for title in titles)
    fitting = (page.MAX_HEIGHT - 0.4) / n_rows - title_height
    height = title_height + max(min(ROW * len(shown), fitting), LEAST_ROW * len(shown))
    figure, grid = page.panels(len(panels), n_columns, n_rows * height + 0.4, sharex=True, sharey=True)
    for axes, (_, own), title in zip(grid, panels, titles, strict=True):
        axes.axvline(
            0 if value == "gain" else recovery.RECOVERED, color="0.6", linewidth=0.6, linestyle=(0, (4, 2)), zorder=0
        )
        for place, (label, look) in enumerate(shown.items()):
            mean = own[own["label"] == label]
            is_open = (mean["role"] == "method") & (mean["promised"] != 1)
            draw_points(axes, place, mean, value, look, is_open, along="x")
        axes.set_title(title, linespacing=1.1)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(range(len(shown)), list(shown))
    grid[0].set_ylim(len(shown) - 0.5, -0.5)
    fit(grid[0], rows, value, along="x")
    figure.supxlabel(page.wrapped(MEANINGS[value], page.width() - 0.2), fontsize=8)
    return figure
