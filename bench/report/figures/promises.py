"""What theory promised of each latent, and how well the methods recovered it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from bench.report import recovery
from bench.report.figures import page
from bench.report.figures.looks import Look, draw_points, looks
from bench.report.results import Results
from bench.report.texts import seeds_text

ROW = 0.135  # inches for each method of a panel
QUARTILES = {"quarter": 0.25, "median": 0.5, "three_quarters": 0.75}


@page.printed
def recovery_by_promise(results: Results, folder: str | Path) -> list[Path]:
    """promise_recovery.*: the scores of single latents, a panel for each thing that theory promises of them, a row per label.

    Nothing where the oracle's verdicts or the scores of single latents are not there.
    """
    latents = recovery.latents(results)
    if latents.empty:
        return []
    key = ["label", "promise"]
    quartiles = (
        latents.groupby(key)["score"].quantile(list(QUARTILES.values())).unstack().set_axis(list(QUARTILES), axis=1)
    )
    rows = recovery.table(results).merge(quartiles.reset_index(), on=key)
    present = {promise: meaning for promise, meaning in recovery.PROMISES.items() if promise in set(rows["promise"])}
    shown = {label: look for label, look in looks(results).items() if label in set(rows["label"])}
    meanings = "; ".join(f'"{promise}" {meaning}' for promise, meaning in present.items())
    caption = (
        f"MCC of single latents (Spearman, test split), by what theory promises of each latent: {meanings}. Sufficient conditions, not "
        f"necessary ones. Shapes: how the scores of the latents of all seeds and cells are distributed, with their quartiles; n: the number "
        f"of latents for one method. Markers: means over {seeds_text(rows)} of the seed's mean over latents and cells. "
        f"{page.interval(rows, 'Bars at the markers')}Dashed: {recovery.RECOVERED}, above which a latent counts as recovered. "
        f"{page.counts(results)}"
    )
    return page.save(_draw(latents, rows, shown, list(present)), rows, caption, folder, "promise_recovery")


def _draw(latents: pd.DataFrame, rows: pd.DataFrame, shown: Mapping[str, Look], promises: list[str]) -> Figure:
    n_columns = min(3, len(promises))
    n_rows = math.ceil(len(promises) / n_columns)
    height = min(ROW * len(shown) + 0.2, (page.MAX_HEIGHT - 0.4) / n_rows)
    figure, grid = page.panels(len(promises), n_columns, n_rows * height + 0.4, sharex=True, sharey=True)
    for axes, promise in zip(grid, promises, strict=True):
        axes.axvline(recovery.RECOVERED, color="0.6", linewidth=0.6, linestyle=(0, (4, 2)), zorder=0)
        own = latents[latents["promise"] == promise]
        seaborn.violinplot(
            own, x="score", y="label", order=list(shown), orient="h", cut=0, width=0.85, density_norm="width", inner="quart",
            color="0.88", linecolor="0.6", linewidth=0.5, inner_kws={"linewidth": 0.6, "color": "0.45"}, ax=axes,
        )  # fmt: skip
        for place, (label, look) in enumerate(shown.items()):
            mean = rows[(rows["label"] == label) & (rows["promise"] == promise)]
            draw_points(axes, place, mean, "score", look, along="x")
        n_latents = rows.loc[rows["promise"] == promise, "n_latents"].max()
        axes.set_title(f"{promise} (n = {n_latents})")
        axes.xaxis.set_major_locator(MultipleLocator(0.2))
        axes.set(xlabel="", ylabel="", xlim=(latents["score"].min() - 0.03, 1.03))
        axes.tick_params(axis="y", length=0)
    figure.supxlabel("MCC of single latents, test, by what theory promises of them", fontsize=8)
    return figure
