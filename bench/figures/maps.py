"""Maps over two dials of the data at their real values: phase diagrams, what theory promises, the synergy effect."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from bench.figures import page
from bench.leaderboard import HEADLINE, cells, is_ok, labels, number, seeds_text, value_text

RECOVERED = 0.9  # the MCC at which a contour is drawn
MIN_CELL = (0.2, 0.12)  # inches: width and height of a cell that has room for its value
HATCH = "/////"
ABOVE, BELOW = "▲", "▼"
CONTOUR = (0, (2.2, 1.2))
SYNERGY = {"effect": "both − better single", "interaction": "both − changes − sparsity + neither"}
PROMISE_WORDS = {
    "promised_sparsity": "sparsity",
    "promised_independence": "sparsity, independence",
    "promised_changes": "changes",
    "promised_both": "all three",
}
BOUNDARY_MEANING = (
    "Solid outline: cells in which the assumptions of the method promise every latent (sparsity and independence, changes, or all "
    "three; sufficient conditions)."
)


class Dial(NamedTuple):
    """A field of the data along one side of a map: its values in order, where they are, and where their cells end."""

    field: str
    levels: list[str]
    centres: np.ndarray  # (n_levels,)
    edges: np.ndarray  # (n_levels + 1,)
    is_log: bool
    is_numeric: bool  # else the values stand one after the other

    @property
    def n_narrow(self) -> float:
        """How many of the narrowest cell fit along the side."""
        edges = np.log(self.edges) if self.is_log else self.edges
        return float((edges[-1] - edges[0]) / np.diff(edges).min())


def dial(field: str, levels: Sequence[str]) -> Dial:
    """Cells end halfway between two values, on a logarithmic scale where the values span a factor of 20."""
    centres = np.array(list(page.positions(levels).values()))
    is_numeric = [value_text(place) for place in centres] == list(levels)
    is_log = bool(centres.min() > 0 and centres.max() >= 20 * centres.min())
    at = np.log(centres) if is_log else centres
    halves = np.diff(at) / 2 if len(at) > 1 else np.array([0.5])
    edges = np.concatenate([[at[0] - halves[0]], at[:-1] + halves[: len(at) - 1], [at[-1] + halves[-1]]])
    return Dial(field, list(levels), centres, np.exp(edges) if is_log else edges, is_log, is_numeric)


class Scale(NamedTuple):
    """How the values of a map become colours, and what their bar says."""

    word: str
    low: float
    high: float
    colours: Colormap


@page.printed
def phase_diagram(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    folder: str | Path,
    x: str = "domains",
    y: str = "violation",
    score: str = HEADLINE,
) -> list[Path]:
    """phase_diagram.*: a map per label, of `score` over the values of `x` and `y`.

    Where `x` or `y` does not vary, another dataset field that does takes its place. Dashed: the contour at an MCC of 0.9.
    Solid: where theory promises every latent. Failed trials hatch their cell.
    """
    x, y = (page.choose(cells(trials, dataset_fields), x, y) + [x, y])[:2]
    rows = page.points(trials, method_fields, [x, y], score)
    rows["promised"] = _promised(trials, method_fields, rows, [x, y])
    rows = rows.assign(title=rows["label"], value=rows[score])
    contour = RECOVERED if score.startswith("mcc") else None
    scale = Scale(page.word(score), *_range(rows[score], score), colormaps["viridis"])
    dials = dial(x, page.levels(trials[x])), dial(y, page.levels(trials[y]))
    figure = _draw_maps(rows, list(page.styles(trials, method_fields)), *dials, scale, contour)
    caption = (
        f"{page.word(score)}, of each method against {page.lower(x)} and {page.lower(y)}. Values: means over {seeds_text(rows)} on "
        f"the test split. {page.interval(rows, 'In phase_diagram.csv')}"
        f"{page.averaged(trials, dataset_fields, [x, y])}{page.counts(trials)}"
    )
    if contour:
        caption += f" Dashed: contour at {contour}, interpolated between cells."
    if not is_ok(trials).all():
        caption += " Hatched: some or all trials of the cell failed and are not in its mean; n/a: not applicable."
    if (rows["promised"] == 1).any():
        caption += f" {BOUNDARY_MEANING}"
    return page.save(figure, rows.drop(columns=["title", "value"]), caption, folder, "phase_diagram")


@page.printed
def promise_map(audit: pd.DataFrame, x: str, y: str, folder: str | Path, name: str) -> list[Path]:
    """A map per promise of the oracle: the fraction of latents it holds for, by two fields of the cells of `audit`.

    `audit` is a table of `bench.audit`; what varies in it beside `x` and `y` is averaged over.
    """
    texts = {field: audit[field].map(value_text) for field in (x, y)}
    long = audit.assign(**texts).melt([x, y], list(PROMISE_WORDS), var_name="label", value_name="promised")
    rows = long.groupby(["label", x, y], sort=False)["promised"].mean().reset_index()
    rows["label"] = rows["label"].map(PROMISE_WORDS)
    shown = rows.assign(title=rows["label"], value=rows["promised"])
    scale = Scale("Fraction of latents promised", 0.0, 1.0, colormaps["viridis"])
    dials = dial(x, page.levels(audit[x])), dial(y, page.levels(audit[y]))
    figure = _draw_maps(shown, list(PROMISE_WORDS.values()), *dials, scale)
    caption = (
        f"Fraction of latents that theory promises to identify, by {page.lower(x)} and {page.lower(y)}: by sparsity of the mixing "
        f"(Zheng et al. 2022), by sparsity and independence of the latents, by the changes between domains, and by all of these. "
        f"Means over {int(audit['instances'].max())} data seeds. Solid outline: cells in which every latent is promised. The "
        f"conditions are sufficient, not necessary."
    )
    return page.save(figure, rows, caption, folder, name)


@page.printed
def synergy_map(
    effects: pd.DataFrame,
    x: str,
    y: str,
    folder: str | Path,
    quantities: Mapping[str, str] = SYNERGY,
) -> list[Path]:
    """synergy.*: a map per ladder and quantity over the values of `x` and `y`; cells whose interval excludes 0 are marked.

    `effects` has a row per ladder and cell: ladder (text), `x`, `y`, n_seeds, and for each quantity Q of `quantities`, whose
    value says what it is, the columns Q, Q_low and Q_high (95 % interval), all on the scale of the score.
    """
    parts = [
        effects.assign(
            title=effects["ladder"] + ": " + text,
            value=effects[name],
            sign=np.where(effects[f"{name}_low"] > 0, 1, np.where(effects[f"{name}_high"] < 0, -1, 0)),
        )
        for name, text in quantities.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(**{field: rows[field].map(value_text) for field in (x, y)})
    largest = math.ceil(20 * max(0.05, float(rows["value"].abs().max()))) / 20
    titles = [f"{ladder}: {text}" for ladder in effects["ladder"].unique() for text in quantities.values()]
    scale = Scale("Difference in MCC", -largest, largest, colormaps["PuOr_r"])
    figure = _draw_maps(rows, titles, dial(x, page.levels(effects[x])), dial(y, page.levels(effects[y])), scale)
    meanings = "; ".join(quantities.values())
    caption = (
        f"What both assumptions together add, against {page.lower(x)} and {page.lower(y)}, for each ladder of methods: {meanings}. "
        f"Means over {seeds_text(effects)}, paired by seed, on the test split. Triangles: the 95 % interval over data seeds excludes 0 "
        f"(up: above, down: below), with no correction for the number of cells; intervals are in synergy.csv."
    )
    if "n_failed" in effects and (effects["n_failed"] > 0).any():
        n_failed = int(effects["n_failed"].sum())
        caption += f" Hatched: some trials of the cell failed, {n_failed} in all, and are in no difference."
    return page.save(figure, effects, caption, folder, "synergy")


def _promised(
    trials: pd.DataFrame, method_fields: Sequence[str], rows: pd.DataFrame, fields: Sequence[str]
) -> pd.Series:
    """For each of `rows`, the fraction of latents that the promise on which its method rests holds for; NaN where it has none."""
    if "promise" not in trials:
        return pd.Series(np.nan, index=rows.index)

    def fraction(trial: dict) -> float:
        verdicts = trial[trial["promise"]] if trial["promise"] else None
        if not isinstance(verdicts, (list, tuple, np.ndarray)):
            return np.nan
        return float(np.mean([verdict == "yes" for verdict in verdicts]))

    texts = {field: trials[field].map(value_text) for field in fields}
    known = trials[["promise", *(name for name in PROMISE_WORDS if name in trials)]]
    shares = [fraction(trial) for trial in known.to_dict("records")]
    values = trials.assign(label=labels(trials, method_fields), **texts, promised=shares)
    means = values.groupby(["label", *fields])["promised"].mean()
    return rows.apply(lambda row: means.get((row["label"], *row[list(fields)]), np.nan), axis=1)


def _draw_maps(
    rows: pd.DataFrame, titles: Sequence[str], x: Dial, y: Dial, scale: Scale, contour: float | None = None
) -> Figure:
    """A map for each of `titles`, from the rows of that title.

    Columns of `rows`: title, one named by the field of each dial (texts), value, and where there is something to mark n_ok and
    n_failed (trials), promised (fraction of latents) and sign (-1, 0, 1).
    """
    n_columns, cell_width, cell_height = _map_shape(len(titles), x.n_narrow, y.n_narrow)
    n_rows = math.ceil(len(titles) / n_columns)
    wrapped = [page.title(text, cell_width * x.n_narrow) for text in titles]
    title_height = 0.1 + 0.11 * max(text.count("\n") + 1 for text in wrapped)
    height = 0.6 + n_rows * (title_height + cell_height * y.n_narrow)
    figure = Figure(figsize=(page.WIDTH, max(height, page.MIN_HEIGHT)), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    is_annotated = cell_width >= MIN_CELL[0] and cell_height >= MIN_CELL[1]
    for place, (axes, title, text) in enumerate(zip(grid.flat, titles, wrapped, strict=False)):
        _draw_map(axes, rows[rows["title"] == title], x, y, scale, contour, is_annotated)
        axes.set_title(text, linespacing=1.1)
        is_lowest, is_first = place >= len(titles) - n_columns, place % n_columns == 0
        _set_sides(axes, x, y, cell_width, cell_height, is_lowest, is_first)
    used = list(grid.flat[: len(titles)])
    for axes in grid.flat[len(titles) :]:
        axes.remove()
    figure.supxlabel(page.word(x.field), fontsize=8)
    figure.supylabel(page.word(y.field), fontsize=8)
    colours = ScalarMappable(Normalize(scale.low, scale.high), scale.colours)
    bar = figure.colorbar(colours, ax=used, aspect=30, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(scale.word)
    keys = _keys(rows, contour)
    if keys:
        figure.legend(handles=keys, loc="outside upper right", ncols=len(keys), handlelength=1.6, columnspacing=1.2)
    return figure


def _map_shape(n_maps: int, n_x: float, n_y: float) -> tuple[int, float, float]:
    """How many maps stand side by side, and the width and height of the narrowest cell in inches, n_x by n_y of them a map.

    As many as leave room for a cell's value; where no number of maps does, the one with the largest cells.
    """
    shapes = []
    for n_columns in range(1, min(n_maps, 5) + 1):
        n_rows = math.ceil(n_maps / n_columns)
        width = (page.WIDTH - 0.9 - 0.1 * n_columns) / (n_columns * n_x)
        height = min(0.2, (page.MAX_HEIGHT - 0.6 - 0.25 * n_rows) / (n_rows * n_y))
        room = min(width / MIN_CELL[0], height / MIN_CELL[1], 1)
        shapes.append((room, n_columns, width, height))
    return max(shapes)[1:]


def _range(values: pd.Series, score: str) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (math.floor(low * 10) / 10, max(1.0, high)) if page.is_bounded(score) else (low, high)


def _draw_map(
    axes: Axes, own: pd.DataFrame, x: Dial, y: Dial, scale: Scale, contour: float | None, is_annotated: bool
) -> None:
    def table(column: str) -> np.ndarray:
        """(n_y, n_x) of a column."""
        wide = own.pivot(index=y.field, columns=x.field, values=column)
        return wide.reindex(index=y.levels, columns=x.levels).to_numpy(float)

    values = table("value")
    norm = Normalize(scale.low, scale.high)
    has_contour = contour is not None and _has_contour(values, x, y, contour)
    axes.pcolormesh(
        x.edges, y.edges, np.ma.masked_invalid(values), cmap=scale.colours, norm=norm, edgecolors="white", linewidth=0.3
    )
    signs = table("sign") if "sign" in own else np.zeros_like(values)
    failed = table("n_failed") if "n_failed" in own else np.zeros_like(values)
    lost = (failed == 0) & (table("n_ok") == 0) if "n_ok" in own else np.zeros(values.shape, dtype=bool)
    for (row, up), (column, right) in itertools.product(enumerate(y.centres), enumerate(x.centres)):
        value = values[row, column]
        red, green, blue, _ = scale.colours(norm(value)) if np.isfinite(value) else (1.0, 1.0, 1.0, 1.0)
        ink = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "0.15"
        if failed[row, column] > 0:
            corner = x.edges[column], y.edges[row]
            size = x.edges[column + 1] - corner[0], y.edges[row + 1] - corner[1]
            axes.add_patch(Rectangle(corner, *size, fill=False, hatch=HATCH, edgecolor=ink, linewidth=0, alpha=0.6))
        if lost[row, column]:
            axes.text(right, up, "n/a", ha="center", va="center", fontsize=6, color="0.4")
        elif is_annotated and np.isfinite(value):
            text = axes.text(right, up, number(value, 2), ha="center", va="center", fontsize=6.5, color=ink, zorder=5)
            if failed[row, column] > 0 or (
                has_contour and abs(value - (contour or 0)) < 0.03
            ):  # legible over its hatching, or a line
                text.set_path_effects([withStroke(linewidth=1.2, foreground=(red, green, blue))])
        if signs[row, column]:  # in the corner, where there is a value in the middle
            place = (x.edges[column + 1], y.edges[row + 1]) if is_annotated else (right, up)
            shift = (-2.4, -2.6) if is_annotated else (0, 0)
            mark = ABOVE if signs[row, column] > 0 else BELOW
            centred: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "zorder": 5}
            axes.annotate(mark, place, shift, fontsize=3.2, color=ink, **centred)
    if contour is not None and has_contour:
        _draw_contour(axes, values, x, y, contour)
    if "promised" in own:
        _outline(axes, table("promised") >= 1, x.edges, y.edges)


def _has_contour(values: np.ndarray, x: Dial, y: Dial, level: float) -> bool:
    """Whether both dials are numbers, and values lie on both sides of the level."""
    return (
        x.is_numeric
        and y.is_numeric
        and min(values.shape) > 1
        and bool((values < level).any() and (values >= level).any())
    )


def _draw_contour(axes: Axes, values: np.ndarray, x: Dial, y: Dial, level: float) -> None:
    """A dashed line through the values between the centres of cells, carried on to the edge of the map."""
    across, up = (np.concatenate([side.edges[:1], side.centres, side.edges[-1:]]) for side in (x, y))
    padded = np.ma.masked_invalid(np.pad(values, 1, mode="edge"))
    for colour, width, line in (("black", 2.0, "-"), ("white", 1.1, CONTOUR)):
        axes.contour(across, up, padded, [level], colors=colour, linewidths=width, linestyles=[line], zorder=3)


def _outline(axes: Axes, inside: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray) -> None:
    """A line around the cells of a map, boolean (n_y, n_x), that are `inside`."""
    padded = np.pad(inside, 1)
    flat = zip(*np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1]), strict=True)
    upright = zip(*np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1]), strict=True)
    segments = [((x_edges[c], y_edges[r]), (x_edges[c + 1], y_edges[r])) for r, c in flat]
    segments += [((x_edges[c], y_edges[r]), (x_edges[c], y_edges[r + 1])) for r, c in upright]
    for colour, width in (("white", 2.2), ("black", 1.0)):
        lines = LineCollection(segments, colors=colour, linewidths=width, capstyle="projecting", zorder=4)
        axes.add_collection(lines, autolim=False)
        lines.set_clip_on(False)


def _set_sides(
    axes: Axes, x: Dial, y: Dial, cell_width: float, cell_height: float, is_lowest: bool, is_first: bool
) -> None:
    x_step = math.ceil((max(map(len, x.levels)) + 0.7) * page.CHARACTER / cell_width)
    y_step = math.ceil(0.1 / cell_height)
    axes.set(xscale="log" if x.is_log else "linear", yscale="log" if y.is_log else "linear")
    axes.set(xlim=(x.edges[0], x.edges[-1]), ylim=(y.edges[0], y.edges[-1]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.set_xticks(x.centres[::x_step], x.levels[::x_step] if is_lowest else [""] * len(x.levels[::x_step]))
    axes.set_yticks(y.centres[::y_step], y.levels[::y_step] if is_first else [""] * len(y.levels[::y_step]))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _keys(rows: pd.DataFrame, contour: float | None) -> list[Any]:
    keys: list[Any] = []
    if contour is not None and rows["value"].min() < contour < rows["value"].max():
        keys += [Line2D([], [], color="black", linestyle=CONTOUR, linewidth=1.2, label=f"MCC {contour}")]
    if "promised" in rows and (rows["promised"] >= 1).any():
        keys += [Patch(facecolor="white", edgecolor="black", linewidth=1.0, label="theory promises every latent")]
    if "sign" in rows and (rows["sign"] != 0).any():
        style: dict[str, Any] = {"color": "black", "linestyle": "", "markersize": 3}
        keys += [Line2D([], [], marker="^", label="interval above 0", **style)]
        keys += [Line2D([], [], marker="v", label="below 0", **style)]
    if "n_failed" in rows and (rows["n_failed"] > 0).any():
        keys += [Patch(facecolor="white", edgecolor="0.4", hatch=HATCH, linewidth=0.4, label="with failed trials")]
    return keys
