"""The score of each method against a dial of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.figures import page
from bench.report.figures.looks import Look, draw_points, families, fit, legend_below, legend_height, looks_of
from bench.report.results import Results
from bench.report.texts import seeds_text

STEP = 0.045  # inches between the intervals of two methods, where there is room for it
PANEL = (1.6, 1.0)  # inches: the height of a panel, and the least where there are many
NARROWEST = 1.1  # inches of a panel with its margin
CROWDED = 0.013  # inches, the width of a bar: where methods stand nearer to each other, their intervals are bands
N_MARKED = 5  # about so many points of a line with bands have a marker


@page.printed
def score_lines(results: Results, folder: str | Path, score: str | None = None) -> list[Path]:
    """score_lines.*: the score, by default the headline, of each label against the number of domains, a panel for each degree of violation.

    Where one of the two does not vary, another field of the data that does takes its place. Where none varies, the labels are listed.
    More methods than a panel has room for are drawn ladder by ladder. Bars are 95 % intervals over seeds; at each value of the dial they
    stand side by side. Where there are too many for that, they are bands.
    """
    score = score or results.headline.name
    dials = [page.axis(field, results.trials[field]) for field in page.choose(results)]
    fields = [dial.field for dial in dials]
    rows = page.points(results, fields, score)
    found = rows.groupby("label")[[score, "n_ok"]].max()
    has_none = found[score].isna() & (found["n_ok"] > 0)  # a score of the support, say, of what has no decoder
    rows = rows[~rows["label"].map(has_none)].reset_index(drop=True)
    shown = looks_of(results, rows["label"])
    panels = _Panels.of(results, rows, shown, dials) if dials else None
    figure = _draw_lines(results, rows, shown, panels, score) if panels else _draw_list(results, rows, shown, score)
    bars = "Bands" if panels and panels.has_bands else "Bars"
    against = f" against {page.lower(fields[0])}" if fields else ""
    each = f", for each value of {page.lower(fields[1])}" if len(fields) > 1 else ""
    caption = (
        f"{results.scores[score].axis}{against}{each}. Points: means over {seeds_text(rows)} on the test split. "
        f"{page.interval(rows, bars)}{page.averaged(results, fields)}{page.counts(results)}"
    )
    if panels and not panels.has_bands:
        caption += " Points of one value stand side by side."
    if results.failed.any():
        caption += " Open marker: some trials of that point failed and are not in its mean"
        caption += "; cross at the bottom: all did." if dials else "."
    return page.save(figure, rows, caption, folder, "score_lines")


class _Panels(NamedTuple):
    """How the points of a figure are laid out: its axes, the labels of each group, and what stands side by side."""

    x: page.Axis
    panel: page.Axis
    groups: dict[str, list[str]]
    methods: set[str]
    n_columns: int
    width: float  # inches of a panel
    gap: float  # inches between the intervals of two methods
    has_bands: bool  # in the place of bars

    @classmethod
    def of(cls, results: Results, rows: pd.DataFrame, shown: Mapping[str, Look], dials: Sequence[page.Axis]) -> _Panels:
        x, panel = (*dials, page.Axis("", [""], np.zeros(1), False))[:2]
        groups = families(results, shown)
        methods = set(rows.loc[rows["role"] == "method", "label"])
        n_methods = max(len(methods & set(labels)) for labels in groups.values())
        n_columns = _n_columns(len(groups), len(panel.levels), n_methods / x.gap)
        width = max(0.2, page.width() / n_columns - 0.5)
        gap = min(0.8 * x.gap * width / max(1, n_methods), STEP)
        usual = 0.8 * width / max(1, len(x.levels) - 1) / max(1, n_methods)  # if the values were evenly spread
        has_bands = x.is_numeric and len(x.levels) > N_MARKED and usual < CROWDED
        return cls(x, panel, groups, methods, n_columns, width, gap, has_bands)


def _draw_lines(results: Results, rows: pd.DataFrame, shown: Mapping[str, Look], panels: _Panels, score: str) -> Figure:
    x, panel, groups, methods, n_columns, width, gap, has_bands = panels
    places = [(title, level) for title in groups for level in panel.levels]
    n_rows = math.ceil(len(places) / n_columns)
    step = 0 if has_bands else gap / width * max(np.ptp(x.places), 1)
    room = legend_height(shown) + 0.3
    height = max(PANEL[1], min(PANEL[0], (page.MAX_HEIGHT - room) / n_rows - 0.25))
    figure, grid = page.panels(len(places), n_columns, n_rows * (height + 0.25) + room, sharey=True)
    for place, (axes, (title, level)) in enumerate(zip(grid, places, strict=True)):
        own = rows[rows[panel.field] == level] if panel.field else rows
        lines = {label: line.set_index(x.field) for label, line in own.groupby("label", sort=False)}
        side_by_side = [label for label in groups[title] if label in methods]
        for label in groups[title]:
            shift = side_by_side.index(label) - (len(side_by_side) - 1) / 2 if label in methods else 0
            line = lines.get(label, rows[:0].set_index(x.field)).reindex(x.levels)  # a gap where there is no mean
            _draw_line(axes, line, shown[label], x, step * shift, score, has_bands)
        axes.set_title(page.wrapped(page.panel_title(title, panel.field, level), width + 0.2), linespacing=1.1)
        page.set_ticks(axes, x, width)
        if not x.is_numeric:
            axes.set_xlim(-0.5, len(x.levels) - 0.5)
        if place + n_columns < len(places):
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel(page.wrapped(page.word(x.field), width + 0.3))
    if results.scores[score].bounded:
        fit(grid[0], rows, score)
    figure.supylabel(results.scores[score].axis, fontsize=8)
    legend_below(figure, shown)
    return figure


def _n_columns(n_groups: int, n_levels: int, n_slots: float) -> int:
    """How many panels stand side by side: as many as have room for so many intervals, more where there would be more rows than fit the page.

    No more than have room for their own numbers: then the figure is higher than a page.
    """
    roomy = int(page.width() / (0.5 + STEP * n_slots))
    rows_fitting = int((page.MAX_HEIGHT - 1) / (PANEL[1] + 0.25))
    least = math.ceil(n_groups * n_levels / rows_fitting)
    most = max(1, int(page.width() / NARROWEST))
    return max(1, min(most, max(least, min(roomy, n_levels if n_groups > 1 else 3, n_groups * n_levels))))


def _draw_line(
    axes: Axes, line: pd.DataFrame, look: Look, x: page.Axis, shift: float, score: str, has_bands: bool
) -> None:
    at = pd.Series(x.places + shift, index=line.index)
    if x.is_numeric:
        axes.plot(at, line[score], color=look.colour, linestyle=look.line, linewidth=look.width)
    marked = np.full(len(line), True)
    if has_bands:
        ends = line[[f"{score}_low", f"{score}_high"]].to_numpy(float).T
        axes.fill_between(at, *ends, color=look.colour, alpha=0.25, linewidth=0)
        marked = _marked(line[score].notna().to_numpy()) | (line["n_failed"] > 0).to_numpy()
    own = line[marked]
    draw_points(axes, at[marked], own, score, look, own["n_failed"] > 0, has_bars=not has_bands)
    lost = at[line[score].isna() & (line["n_failed"] > 0)]
    axes.plot(lost, [0.02] * len(lost), "x", color=look.colour, markersize=4, transform=axes.get_xaxis_transform())


def _marked(known: np.ndarray) -> np.ndarray:
    """Which points of a line have a marker, by whether they are known: some of these, and each that has no neighbour to be joined to."""
    count = np.cumsum(known) - 1
    alone = known & ~np.append(known[1:], False) & ~np.append(False, known[:-1])
    return alone | (known & (count % max(1, math.ceil(known.sum() / N_MARKED)) == 0))


def _draw_list(results: Results, rows: pd.DataFrame, shown: Mapping[str, Look], score: str) -> Figure:
    figure, (axes,) = page.panels(1, 1, 0.5 + 0.17 * len(shown))
    for place, (label, look) in enumerate(shown.items()):
        row = rows[rows["label"] == label]
        draw_points(axes, place, row, score, look, row["n_failed"] > 0, along="x")
    if results.scores[score].bounded:
        fit(axes, rows, score, along="x")
    axes.set_yticks(range(len(shown)), list(shown))
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(results.scores[score].axis)
    axes.grid(axis="x", linewidth=0.4, color="0.9")
    axes.set_axisbelow(True)
    return figure
