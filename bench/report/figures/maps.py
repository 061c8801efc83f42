"""Heat maps over two dials of the data: scores, what theory promises, and the synergy effect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation

from bench.report import synergy
from bench.report.figures import page
from bench.report.figures.looks import looks
from bench.report.recovery import RECOVERED, own_promises
from bench.report.results import STRATUM, Results
from bench.report.texts import number, seeds_text
from bench.scores import HEADLINE

MIN_CELL = (0.19, 0.15)  # inches: width and height of a cell that has room for its value
LEAST_HEIGHT, MAX_HEIGHT = 0.06, 0.2  # inches of a cell
HATCH = "/////"
ABOVE, BELOW, MARK = "^", "v", 2.3  # markers, and their size in points
DASHES: Any = (0, (1.3, 2.4))  # to which their ends add the line's width
INSET = 1.7  # points by which the dashed line runs inside its cells, beside the solid one
SYNERGY = {"effect": "both − better single", "interaction": "both − changes − sparsity + neither"}
PROMISE_WORDS = {
    "promised_sparsity": "sparsity",
    "promised_independence": "sparsity, independence",
    "promised_changes": "changes",
    "promised_both": "all three",
}


@page.printed
def phase_diagram(results: Results, folder: str | Path, score: str = HEADLINE) -> list[Path]:
    """phase_diagram.*: a map per label, of `score` over the numbers of domains and the degrees of violation.

    Where one of the two does not vary, another field of the data that does takes its place. Dashed: where the MCC is at least 0.9.
    Solid: where theory promises every latent. Failed trials hatch their cell.
    """
    dials = _dials(results)
    fields = [dial.field for dial in dials]
    rows = page.points(results, fields, score)
    rows = rows.assign(promised=_promised(results, rows, fields))
    axis, is_mcc = results.scores[score].axis, score.startswith("mcc")
    low, high = float(rows[score].min()), float(rows[score].max())
    if results.scores[score].bounded:
        low, high = math.floor(low * 10) / 10, max(1.0, high)
    shown = rows.assign(title=rows["label"], value=rows[score])
    colours = ScalarMappable(Normalize(low, high), "viridis")
    figure = _draw(shown, list(looks(results)), dials[0], dials[1], colours, axis, is_mcc)
    caption = (
        f"{axis}, of each method against {page.lower(fields[0])} and {page.lower(fields[1])}. Values: means over {seeds_text(rows)} on "
        f"the test split. {page.interval(rows, 'In phase_diagram.csv')}{page.averaged(results, fields)}{page.counts(results)}"
    )
    if is_mcc and (rows[score] >= RECOVERED).any():
        caption += f" Within the dashed line: at least {RECOVERED}."
    if not results.ok.all():
        caption += " Hatched: some or all trials of the cell failed and are not in its mean; n/a: not applicable."
    if (rows["promised"] == 1).any():
        caption += " Solid outline: cells in which theory promises that the assumptions of the method suffice for every latent (sufficient conditions)."
    return page.save(figure, rows, caption, folder, "phase_diagram")


def _dials(results: Results) -> list[page.Axis]:
    """The two sides of a map: what varies in the data, number of domains and violation first; what does not, where less than two do."""
    fields = page.choose(results)
    fields += [
        field
        for field in ("violation", "domains", "dataset")
        if field in results.trials and field not in (*fields, *results.cells)
    ]
    # The words of a stratum have room on the vertical axis alone.
    sides = sorted(fields[:2], key=lambda field: field == STRATUM)
    return [page.axis(field, results.trials[field]) for field in sides]


def _promised(results: Results, rows: pd.DataFrame, fields: Sequence[str]) -> pd.Series:
    """For each of `rows`, the fraction of latents that the assumptions of its method promise; NaN where that is not known."""

    number, promises = own_promises(results.trials, results.methods)
    share = np.array([np.nan if own is None else float(np.mean(own)) for own in promises])
    shares = results.trials[["label", *fields]].assign(share=share[number])
    means = page.with_texts(shares, fields).groupby(["label", *fields])["share"].mean()
    return rows[["label", *fields]].merge(means.reset_index(), "left")["share"]


@page.printed
def promise_map(audit: pd.DataFrame, x: str, y: str, folder: str | Path, name: str) -> list[Path]:
    """A map per promise of the oracle: the fraction of latents it holds for, by two fields of the cells of `audit`.

    `audit` is a table of `bench.report.audit`; what varies in it beside `x` and `y` is averaged over.
    """
    long = page.with_texts(audit, (x, y)).melt([x, y], list(PROMISE_WORDS), var_name="label", value_name="promised")
    rows = long.groupby(["label", x, y], sort=False)["promised"].mean().reset_index()
    rows["label"] = rows["label"].map(PROMISE_WORDS)
    shown = rows.assign(title=rows["label"], value=rows["promised"])
    colours = ScalarMappable(Normalize(0, 1), "viridis")
    dials = page.axis(x, audit[x]), page.axis(y, audit[y])
    figure = _draw(shown, list(PROMISE_WORDS.values()), *dials, colours, "Fraction of latents promised")
    caption = (
        f"Fraction of latents that theory promises to identify, by {page.lower(x)} and {page.lower(y)}: by sparsity of the mixing "
        f"(Zheng et al. 2022), by sparsity and independence of the latents, by the changes between domains, and by all of these. "
        f"Means over {int(audit['instances'].max())} data seeds. Solid outline: cells in which every latent is promised. The "
        f"conditions are sufficient, not necessary."
    )
    return page.save(figure, rows, caption, folder, name)


@page.printed
def synergy_map(results: Results, folder: str | Path) -> list[Path]:
    """synergy.*: what both assumptions add, a map per ladder and quantity; cells whose interval excludes 0 are marked.

    Nothing where no ladder can be judged, or in no more than one cell.
    """
    dials = _dials(results)
    varying = [dial.field for dial in dials if dial.field in results.dials()]
    effects = synergy.table(results)
    is_place = effects["scope"] == synergy.CELL
    places = effects[is_place].reindex(columns=["ladder", *varying])
    if places.duplicated().any() or places.isna().any(axis=None):
        effects = synergy.table(results, by=varying)  # over what else varies, or where a ladder has one stratum
        is_place = effects["scope"] == synergy.CELL
    effects = page.with_texts(effects[is_place], [field for field in varying if field in effects])
    if len(effects) < 2:
        return []
    x, y = dials
    effects = effects.assign(**{dial.field: dial.levels[0] for dial in dials if dial.field not in varying})
    parts = [
        effects.assign(
            title=effects["ladder"] + ": " + words,
            value=effects[name],
            sign=np.where(effects[f"{name}_low"] > 0, 1, np.where(effects[f"{name}_high"] < 0, -1, 0)),
        )
        for name, words in SYNERGY.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    largest = math.ceil(20 * max(0.05, float(rows["value"].abs().max()))) / 20
    titles = [f"{ladder}: {words}" for ladder in effects["ladder"].unique() for words in SYNERGY.values()]
    colours = ScalarMappable(Normalize(-largest, largest), "PuOr_r")
    figure = _draw(rows, titles, x, y, colours, "Difference in MCC")
    caption = (
        f"What both assumptions together add, against {page.lower(x.field)} and {page.lower(y.field)}, for each ladder of methods: "
        f"{'; '.join(SYNERGY.values())}. Means over {seeds_text(effects)}, paired by seed, on the test split. Triangles: the 95 % interval "
        f"over data seeds excludes 0 (up: above, down: below), with no correction for the number of cells; intervals are in synergy.csv."
    )
    n_failed = int(effects["n_failed"].sum())
    if n_failed:
        caption += f" Hatched: some trials of the cell failed, {n_failed} in all, and are in no difference."
    return page.save(figure, effects, caption, folder, "synergy")


# --- drawing


def _draw(
    rows: pd.DataFrame,
    titles: Sequence[str],
    x: page.Axis,
    y: page.Axis,
    colours: ScalarMappable,
    meaning: str,
    is_mcc: bool = False,
) -> Figure:
    """A map for each of `titles`, from the rows of that title.

    Columns of `rows`: title, one named by the field of each side (texts), value, and where there is something to mark n_ok and
    n_failed (trials), promised (fraction of latents) and sign (-1, 0, 1).
    """
    n_x, n_y = len(x.levels), len(y.levels)
    names_width = max(0.2, page.CHARACTER * max(map(len, y.levels)))
    word = page.CHARACTER * max(len(part) for text in titles for part in text.replace("-", "- ").split())
    n_columns, *cell = map_shape(len(titles), n_x, n_y, names_width, word)
    n_rows = math.ceil(len(titles) / n_columns)
    wrapped = [page.wrapped(text, cell[0] * n_x) for text in titles]
    title_height = 0.1 + 0.11 * max(text.count("\n") + 1 for text in wrapped)
    height = 0.6 + n_rows * (title_height + cell[1] * n_y)
    figure, grid = page.panels(len(titles), n_columns, height)
    x_step = math.ceil((max(map(len, x.levels)) + 0.7) * page.CHARACTER / cell[0])
    y_step = math.ceil(0.1 / cell[1])
    for place, (axes, title, text) in enumerate(zip(grid, titles, wrapped, strict=True)):
        _draw_map(axes, rows[rows["title"] == title], x, y, colours, cell, is_mcc)
        axes.set_title(text, linespacing=1.1)
        is_lowest, is_first = place >= len(titles) - n_columns, place % n_columns == 0
        for axis, dial, step, is_named in ((axes.xaxis, x, x_step, is_lowest), (axes.yaxis, y, y_step, is_first)):
            names = dial.levels[::step] if is_named else [""] * len(dial.levels[::step])
            axis.set_ticks(np.arange(len(dial.levels))[::step] + 0.5, names, rotation=0)
        axes.tick_params(length=0)
    figure.supxlabel(page.word(x.field), fontsize=8)
    figure.supylabel(page.word(y.field), fontsize=8)
    page.colour_bar(figure, colours, grid, meaning)
    keys = _keys(rows, is_mcc)
    if keys:
        figure.legend(handles=keys, loc="outside upper right", ncols=len(keys), handlelength=1.6, columnspacing=1.2)
    return figure


def map_shape(n_maps: int, n_x: int, n_y: int, names_width: float = 0.2, word: float = 0.0) -> tuple[int, float, float]:
    """How many maps of n_x by n_y cells stand side by side, and the width and height of a cell in inches.

    `names_width` is that of the longest name on the vertical axis, `word` that of the longest word of a title. As many as leave room for a cell's value; where no number of maps does, the one with the largest cells.
    """
    shapes = []
    for n_columns in range(1, min(n_maps, 5) + 1):
        n_rows = math.ceil(n_maps / n_columns)
        width = (page.width() - 0.7 - names_width - 0.1 * n_columns) / (n_columns * n_x)
        height = min(MAX_HEIGHT, max(LEAST_HEIGHT, (page.MAX_HEIGHT - 0.6 - 0.25 * n_rows) / (n_rows * n_y)))
        room = min(width / MIN_CELL[0], height / MIN_CELL[1], 1)
        if n_columns == 1 or n_x * width >= word:
            shapes.append((room, n_columns, width, height))
    return max(shapes)[1:]


def _draw_map(
    axes: Axes,
    own: pd.DataFrame,
    x: page.Axis,
    y: page.Axis,
    colours: ScalarMappable,
    cell: Sequence[float],
    is_mcc: bool,
) -> None:
    """The cell of the i-th level of x and the j-th of y is the square from (i, j) to (i + 1, j + 1)."""
    own = own.set_index([y.field, x.field])

    def table(column: str, default: float = 0) -> np.ndarray:
        """(n_y, n_x) of a column, NaN where there is no row; `default` of a column that there is not."""
        wide = own.get(column, pd.Series(default, own.index)).unstack()
        return wide.reindex(index=y.levels, columns=x.levels).to_numpy(float)

    values, failed, n_ok, signs = table("value"), table("n_failed"), table("n_ok", 1), table("sign")
    has_room = cell[0] >= MIN_CELL[0] and cell[1] >= MIN_CELL[1]
    texts = np.array([[page.signed(number(value, 2)) for value in row] for row in values])
    seaborn.heatmap(
        values, ax=axes, vmin=colours.norm.vmin, vmax=colours.norm.vmax, cmap=colours.cmap, mask=np.isnan(values), linewidths=0.3,
        annot=texts if has_room else None, fmt="", annot_kws={"fontsize": 6.5}, cbar=False, xticklabels=False, yticklabels=False,
    )  # fmt: skip
    axes.invert_yaxis()
    shades = np.where(np.isnan(values)[..., None], 1, colours.to_rgba(np.ma.masked_invalid(values)))
    for text in axes.texts:
        column, row = (math.floor(at) for at in text.get_position())
        if failed[row, column] > 0:  # legible over its hatching
            text.set_path_effects([withStroke(linewidth=1.2, foreground=shades[row, column])])
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    inks = np.full(values.shape, "0.15", dtype=object)
    for row, column in np.ndindex(values.shape):
        ink = "white" if shades[row, column, :3] @ (0.299, 0.587, 0.114) < 0.5 else "0.15"
        if failed[row, column] > 0:
            hatched: dict[str, Any] = {"fill": False, "hatch": HATCH, "edgecolor": ink, "linewidth": 0, "alpha": 0.6}
            axes.add_patch(Rectangle((column, row), 1, 1, **hatched))
        elif n_ok[row, column] == 0:
            axes.text(column + 0.5, row + 0.5, "n/a", fontsize=6, color="0.4", **centred)
        inks[row, column] = ink
    # In the corner, where there is a value in the middle.
    at, shift = (1.0, (-2.4 / 72, -2.6 / 72)) if has_room else (0.5, (0.0, 0.0))
    move = ScaledTranslation(*shift, axes.figure.dpi_scale_trans)
    for sign, mark in ((1, ABOVE), (-1, BELOW)):
        rows, columns = np.nonzero(signs == sign)
        options: dict[str, Any] = {
            "marker": mark,
            "s": MARK**2,
            "c": inks[rows, columns],
            "linewidths": 0,
            "label": mark,
        }
        axes.scatter(columns + at, rows + at, transform=axes.transData + move, zorder=5, **options)
    _add_outline(axes, outline(table("promised") >= 1), "-", 1.2)
    if is_mcc:
        _add_outline(axes, outline(values >= RECOVERED, (INSET / 72 / cell[0], INSET / 72 / cell[1])), DASHES, 0.6)


def _add_outline(axes: Axes, segments: Sequence[np.ndarray], line: Any, halo: float) -> None:
    """A black line that has a white one, `halo` points wider, below it."""
    if not segments:
        return
    path = Outline.make_compound_path(*map(Outline, segments))  # drawn as one, thousands of segments take no time
    for colour, width, style in (("white", 1.0 + halo, "-"), ("black", 1.0, line)):
        look: Any = {"edgecolor": colour, "linewidth": width, "linestyle": style, "capstyle": "projecting"}
        axes.add_artist(PathPatch(path, fill=False, zorder=4, clip_on=False, **look))


def outline(inside: np.ndarray, inset: tuple[float, float] = (0, 0)) -> list[np.ndarray]:
    """The segments [(x, y), (x, y)] of the line around the cells of a map, boolean (n_y, n_x), that are `inside`.

    A cell is a unit square; the line runs along the edges of cells, or by so much of a cell inside them.
    """
    segments = []
    for flip in (False, True):  # horizontal edges, then upright ones
        padded = np.pad(inside.T if flip else inside, 1)
        along, across = inset[::-1] if flip else inset
        for row, column in np.argwhere(padded):
            for side in (-1, 1):
                if padded[row + side, column]:
                    continue
                y = row - (side < 0) - side * across
                ends = []
                for end in (-1, 1):  # the line goes on, ends at its own corner, or at that of the next cell's edge
                    beside, beyond = padded[row, column + end], padded[row + side, column + end]
                    x = column - (end < 0) + end * along * (-1 if not beside else 1 if beyond else 0)
                    ends.append((y, x) if flip else (x, y))
                segments.append(np.array(ends, dtype=float))
    return segments


def _keys(rows: pd.DataFrame, is_mcc: bool) -> list[Artist]:
    """The entries of the legend, of those marks that there are."""
    triangle: dict[str, Any] = {"color": "black", "linestyle": "", "markersize": 3}
    box: dict[str, Any] = {"facecolor": "white", "edgecolor": "black"}
    none = pd.Series(0, rows.index)
    signs = rows.get("sign", none) != 0
    dashed = Line2D([], [], color="black", linewidth=1.0, linestyle=DASHES, dash_capstyle="projecting")
    marks = [
        (is_mcc & (rows["value"] >= RECOVERED), dashed, f"MCC of at least {RECOVERED}"),
        (rows.get("promised", none) >= 1, Patch(linewidth=1.0, **box), "theory promises every latent"),
        (signs, Line2D([], [], marker="^", **triangle), "interval above 0"),
        (signs, Line2D([], [], marker="v", **triangle), "below 0"),
        (rows.get("n_failed", none) > 0, Patch(hatch=HATCH, linewidth=0.4, **box), "with failed trials"),
    ]
    for _, key, label in marks:
        key.set_label(label)
    return [key for is_there, key, _ in marks if is_there.any()]
