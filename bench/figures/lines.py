"""The score of each method against a dial of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.figures import page
from bench.leaderboard import HEADLINE, cells, is_failed, seeds_text


@page.printed
def score_lines(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    folder: str | Path,
    x: str = "domains",
    panel: str = "violation",
    score: str = HEADLINE,
) -> list[Path]:
    """score_lines.*: the score of each label against `x` with its 95 % band over seeds, a panel per value of `panel`.

    Where `x` or `panel` does not vary, another dataset field that does takes its place. Where there is nothing to be
    `x`, the labels are listed, with error bars.
    """
    axes_fields = page.choose(cells(trials, dataset_fields), x, panel)
    looks = page.styles(trials, method_fields)
    rows = page.points(trials, method_fields, axes_fields, score)
    draw = _draw_lines if axes_fields else _draw_list
    figure = draw(rows, looks, [(field, page.levels(trials[field])) for field in axes_fields], score)
    against = f" against {page.lower(axes_fields[0])}" if axes_fields else ""
    each = f", one panel for each value of {page.lower(axes_fields[1])}" if len(axes_fields) > 1 else ""
    spread = "Bands (not drawn for floors and ceiling)" if axes_fields else "Bars"
    caption = (
        f"{page.word(score)}{against}{each}. Points: means over {seeds_text(rows)} on the test split. "
        f"{page.interval(rows, spread)}{page.averaged(trials, dataset_fields, axes_fields)}{page.counts(trials)}"
    )
    if is_failed(trials).any():
        caption += (
            " Open marker: some trials of that point failed and are not in its mean; cross at the bottom: all did."
        )
    return page.save(figure, rows, caption, folder, "score_lines")


def _draw_lines(
    rows: pd.DataFrame, looks: Mapping[str, page.Style], dials: list[tuple[str, list[str]]], score: str
) -> Figure:
    (x, x_levels), (panel, panel_levels) = (dials + [("", [""])])[:2]
    n_columns = {1: 1, 2: 2, 4: 2}.get(len(panel_levels), 3)
    n_rows = math.ceil(len(panel_levels) / n_columns)
    handles = page.handles(looks, rows)
    n_legend_columns = page.legend_columns(list(looks))
    height = 0.45 + 1.75 * n_rows + 0.15 * math.ceil(len(handles) / n_legend_columns)
    figure = Figure(figsize=(page.WIDTH, height), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    positions = page.positions(x_levels)
    for axes, level in zip(grid.flat, panel_levels, strict=False):
        shown = rows[rows[panel] == level] if panel else rows
        for label, look in looks.items():
            _draw_line(axes, shown[shown["label"] == label], look, x, positions, score)
        if panel:
            axes.set_title(page.title(f"{page.word(panel)}: {level}", page.WIDTH / n_columns - 0.4), linespacing=1.1)
        page.set_ticks(axes, positions, page.WIDTH / n_columns - 0.5)
        axes.set_xlabel(page.word(x))
    for axes in grid.flat[len(panel_levels) :]:
        axes.remove()
    if page.is_bounded(score):
        grid[0, 0].set_ylim(top=min(1.01, grid[0, 0].get_ylim()[1]))
    for axes in grid[:, 0]:
        axes.set_ylabel(page.word(score))
    figure.legend(handles=handles, loc="outside lower center", ncols=n_legend_columns, handlelength=3)
    return figure


def _draw_line(
    axes: Axes, line: pd.DataFrame, look: page.Style, x: str, positions: Mapping[str, float], score: str
) -> None:
    line = line.set_index(x).reindex(list(positions))  # a gap where there is no mean
    at, is_method = pd.Series(positions), (line["role"] == "method").any()
    if is_method:
        axes.fill_between(at, line[f"{score}_low"], line[f"{score}_high"], color=look.colour, alpha=0.08, linewidth=0)
        for end in ("low", "high"):  # where bands overlap, their edges tell them apart
            axes.plot(at, line[f"{score}_{end}"], color=look.colour, linestyle=look.line, linewidth=0.4, alpha=0.7)
    axes.plot(at, line[score], color=look.colour, linestyle=look.line, linewidth=1.2 if is_method else 0.7)
    page.draw_markers(axes, at, line[score], line["n_failed"] > 0, look, size=3.4 if is_method else 2)
    lost = at[line[score].isna() & (line["n_failed"] > 0)]
    axes.plot(lost, [0.02] * len(lost), "x", color=look.colour, markersize=4, transform=axes.get_xaxis_transform())


def _draw_list(
    rows: pd.DataFrame, looks: Mapping[str, page.Style], dials: list[tuple[str, list[str]]], score: str
) -> Figure:
    figure = Figure(figsize=(page.WIDTH, 0.5 + 0.17 * len(looks)), layout="constrained")
    axes = figure.subplots()
    for place, (label, look) in enumerate(looks.items()):
        row = rows[rows["label"] == label]
        at = pd.Series(place, index=row.index)
        axes.hlines(at, row[f"{score}_low"], row[f"{score}_high"], color=look.colour, linewidth=1)
        page.draw_markers(axes, row[score], at, row["n_failed"] > 0, look, size=4)
    axes.set_yticks(range(len(looks)), list(looks))
    axes.set_ylim(len(looks) - 0.5, -0.5)
    axes.set_xlabel(page.word(score))
    axes.grid(axis="x", linewidth=0.4, color="0.9")
    axes.set_axisbelow(True)
    return figure
