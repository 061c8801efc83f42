"""What a method costs, and what it scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.report.figures import page
from bench.report.figures.looks import Look, draw_points, fit, legend, looks_of
from bench.report.results import Results, summary
from bench.report.texts import seeds_text


@page.printed
def cost_and_score(results: Results, folder: str | Path) -> list[Path]:
    """cost_score.*: the mean score of each label against its seconds of training per trial, and the methods no other one beats in both."""
    headline = results.headline.name
    rows = summary(results.trials, ["label", "role"], [results.headline])
    rows["train_s"] = rows["label"].map(results.trials[results.ok].groupby("label")["train_s"].mean())
    rows = rows[rows[headline].notna() & (rows["train_s"] > 0)].reset_index(drop=True)
    if rows.empty:
        return []
    rows["on_front"] = (rows["role"] == "method") & ~_is_beaten(rows, headline)
    shown = looks_of(results, rows["label"])
    axis = results.headline.axis
    caption = (
        f"{axis}, against seconds of training per trial, those of its pack divided by the trials in it. Points: means over "
        f"{seeds_text(rows)} and all cells on the test split. {page.interval(rows, 'Bars')}Line: methods than which no other has a higher "
        f"mean at no greater cost. {page.counts(results)}"
    )
    return page.save(_draw(rows, shown, axis, headline), rows, caption, folder, "cost_score")


def _is_beaten(rows: pd.DataFrame, score: str) -> np.ndarray:
    """Whether a method is no worse than the one of each row in cost and score, and better in one."""
    cost, value = rows["train_s"].to_numpy(), rows[score].to_numpy()
    no_worse = (cost[None] <= cost[:, None]) & (value[None] >= value[:, None])
    better = (cost[None] < cost[:, None]) | (value[None] > value[:, None])
    return (no_worse & better & (rows["role"] == "method").to_numpy()).any(axis=1)


def _draw(rows: pd.DataFrame, shown: Mapping[str, Look], y_label: str, score: str) -> Figure:
    figure, (axes,) = page.panels(1, 1, max(2.1, 0.4 + 0.145 * len(shown)))
    front = rows[rows["on_front"]].sort_values("train_s")
    axes.step(front["train_s"], front[score], where="post", color="0.6", linewidth=0.8, zorder=1)
    for label, look in shown.items():
        own = rows[rows["label"] == label]
        draw_points(axes, own["train_s"], own, score, look)
    fit(axes, rows, score)
    axes.set_xscale("log")
    low, high = rows["train_s"].min(), rows["train_s"].max()
    if high < 20 * low:  # too few powers of ten to read the axis by
        ticks = np.unique([float(f"{tick:.1g}") for tick in np.geomspace(low, high, 4)])
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="Seconds of training per trial", ylabel=y_label)
    figure.legend(loc="outside right upper", **legend(shown, with_lines=False))
    return figure
