"""The figures of a run, drawn for print: PDF with embedded TrueType fonts, PNG, the plotted numbers as CSV, a caption.

A method looks the same in every figure of every run. Trials that are not ok enter no mean, but every CSV and caption
counts them, and the figures mark where they are. What is averaged, and how, is decided in `bench.leaderboard.summary`.
"""

from __future__ import annotations

import hashlib
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import XAxis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import NullLocator
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from bench.leaderboard import HEADLINE, ROLES, cells, is_failed, is_ok, labels, number, seeds_text, summary, value_text
from bench.statistics import interval_name

WIDTH = 5.5  # inches: the text width of ICLR, NeurIPS and JMLR
MIN_HEIGHT = 1.9  # inches, which has room for the label of a vertical axis
MAX_HEIGHT = 7.0  # inches, which leaves room for a caption on the page
CHARACTER = 0.05  # inches: about the width of a character at 7 pt
N_POINTS = 1000  # of a scatter plot
MIN_CELL = (0.2, 0.12)  # inches: width and height of a heat map's cell that has room for its value
HATCH = "/////"
PRINT: dict[Any, Any] = {
    "font.family": "STIXGeneral",  # Times-like, comes with matplotlib
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.titlepad": 3,
    "axes.labelpad": 2,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "hatch.linewidth": 0.4,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}
WORDS = {
    "dataset": "Data set",
    "domains": "Number of domains",
    "violation": "Violation of structural sparsity",
    "twins": "Fraction of latents with twins",
    "n_latents": "Number of latents",
    "n_observed": "Number of observed variables",
    "n_samples": "Number of training points",
    "density": "Density of the mixing",
    "nonlinearity": "Nonlinearity of the mixing",
    "noise": "Standard deviation of the noise",
    "shadow_size": "Size of each violating latent's shadow",
    "samples_per_domain": "Number of training points per domain",
    "sources": "Distribution of the latents",
    "changes": "What changes between domains",
    "changing": "Fraction of latents that change",
    "change_strength": "Strength of the changes",
    "rank": "Most directions of change",
    "dependence": "Correlation of latents within a domain",
    "mixing": "Kind of mixing",
    "promised": "Fraction of latents promised",
    "mcc_spearman": "MCC (Spearman), test",
    "mcc_pearson": "MCC (Pearson), test",
    "mcc_within": "MCC within domains, test",
    "r2_component": "$R^2$ by component, test",
    "r2_block": "$R^2$ by block, test",
    "r2_linear": "$R^2$, linear, test",
    "r2_content": "$R^2$ of the content, test",
    "mcc_style": "MCC of the style, test",
    "recon_nmse": "Reconstruction error (NMSE), test",
}


PROMISE_WORDS = {
    "promised_sparsity": "sparsity",
    "promised_independence": "sparsity, independence",
    "promised_changes": "changes",
    "promised_both": "all three",
}
OUTLINE_MEANING = (
    "Outlined: cells in which the assumptions of the method promise every latent (sparsity and independence, changes, or all three; "
    "sufficient conditions)."
)


class Style(NamedTuple):
    """How a method is drawn: each of the three tells it from the others, so that colour is never needed."""

    colour: str
    marker: str | tuple[int, int, int]
    line: Any  # "-", or the (offset, dashes) of matplotlib


SOLID = "-"
DASHED = (0, (4.0, 1.5))
DOTTED = (0, (1.0, 1.2))
DASH_DOT = (0, (5.0, 1.2, 1.0, 1.2))
DASH_DOT_DOT = (0, (5.0, 1.2, 1.0, 1.2, 1.0, 1.2))
LINES = (SOLID, DASHED, DOTTED, DASH_DOT, DASH_DOT_DOT)

# Okabe-Ito for the VAEs, Tol's muted set for the other families. Along a ladder the line tells the assumptions: dotted
# none, dashed sparsity, dash-dotted changes, solid both. This is also the order of legends.
KNOWN = {
    "vae": Style("#56B4E9", "s", DOTTED),
    "sparse-vae": Style("#009E73", "^", DASHED),
    "ivae": Style("#CC79A7", "v", DASH_DOT_DOT),
    "flow-vae": Style("#0072B2", "D", DASH_DOT),
    "synergy-vae": Style("#D55E00", "o", SOLID),
    "adaptive-synergy-vae": Style("#8C2D04", "*", SOLID),
    "gan": Style("#DDCC77", "<", DOTTED),
    "sparse-gan": Style("#999933", ">", DASHED),
    "domain-gan": Style("#332288", "X", DASH_DOT),
    "synergy-gan": Style("#882255", "P", SOLID),
    "flow": Style("#44AA99", "p", DOTTED),
    "sparse-flow": Style("#117733", "h", DASHED),
    "domain-flow": Style("#AA4499", "d", DASH_DOT),
    "synergy-flow": Style("#CC6677", "8", SOLID),
    "tcl": Style("#E69F00", "H", DASH_DOT_DOT),
    "supervised": Style("#000000", "o", SOLID),
    "fastica": Style("#4D4D4D", "s", DASHED),
    "pca": Style("#707070", "^", DASH_DOT),
    "identity": Style("#8E8E8E", "D", DOTTED),
    "random": Style("#ADADAD", "v", DASH_DOT_DOT),
}
# For all others: colours at least 0.088 apart in OKLab from those above and each other, and markers of their own.
SPARE_COLOURS = {
    "method": [
        "#8F70EF", "#6040BF", "#50BF40", "#008FFF", "#205000", "#BF2040", "#70008F", "#CF80FF",
        "#FF8060", "#8F7000", "#00508F", "#705080", "#8070AF", "#309F00", "#007070", "#FF608F",
        "#508FBF", "#BF60CF", "#705000", "#9F8FCF", "#8F5050", "#4060DF", "#EF70CF", "#AF8050",
    ],
    "ceiling": ["#1A1A1A", "#262626", "#333333"],
    "floor": ["#5E5E5E", "#7F7F7F", "#9E9E9E", "#BCBCBC"],
}  # fmt: skip
SPARE_MARKERS = ((3, 1, 0), (4, 1, 0), (4, 1, 45), (6, 1, 0), (8, 1, 0), (3, 1, 180))


def style(method: str, role: str = "method") -> Style:
    """The style of a method, which depends on nothing but its name and role."""
    if method in KNOWN:
        return KNOWN[method]
    digest = hashlib.sha256(method.encode()).digest()
    colours = SPARE_COLOURS[role]
    return Style(
        colours[digest[0] % len(colours)],
        SPARE_MARKERS[digest[1] % len(SPARE_MARKERS)],
        LINES[digest[2] % len(LINES)],
    )


def styles(trials: pd.DataFrame, method_fields: Sequence[str]) -> dict[str, Style]:
    """The style of each label of `trials`, in the order of legends: methods, ceiling, floors; variants by settings.

    The variants of one method share its hue, from light to dark, and differ in marker and line.
    """
    fields = [field for field in method_fields if field in trials]
    rows = trials.assign(label=labels(trials, method_fields)).drop_duplicates("label")
    places = {method: place for place, method in enumerate(KNOWN)}
    rows["place"] = [
        (ROLES.index(role), places.get(method, len(places)), method)
        for role, method in zip(rows["role"], rows["method"], strict=True)
    ]
    chosen: dict[str, Style] = {}
    for _, variants in rows.groupby("place"):
        base = style(variants["method"].iloc[0], variants["role"].iloc[0])
        names = list(variants.sort_values([*fields, "label"])["label"])
        chosen.update(zip(names, _variants(base, len(names)), strict=True))
    return chosen


def _variants(base: Style, n: int) -> list[Style]:
    if n == 1:
        return [base]
    markers = [base.marker, *(known.marker for known in KNOWN.values() if known.marker != base.marker)]
    shades = np.linspace(0.5, -0.5, n)
    return [
        Style(_shade(base.colour, shade), markers[i % len(markers)], LINES[i % len(LINES)])
        for i, shade in enumerate(shades)
    ]


def _shade(colour: str, amount: float) -> str:
    """`colour` moved towards white by a positive amount, towards black by a negative one."""
    rgb = np.array(to_rgb(colour))
    red, green, blue = rgb + amount * (1 - rgb) if amount > 0 else rgb * (1 + amount)
    return to_hex((red, green, blue))


@matplotlib.rc_context(PRINT)
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
    axes_fields = _choose(cells(trials, dataset_fields), x, panel)
    looks = styles(trials, method_fields)
    rows = _points(trials, method_fields, axes_fields, score)
    draw = _draw_lines if axes_fields else _draw_list
    figure = draw(rows, looks, [(field, _levels(trials[field])) for field in axes_fields], score)
    against = f" against {_lower(axes_fields[0])}" if axes_fields else ""
    each = f", one panel for each value of {_lower(axes_fields[1])}" if len(axes_fields) > 1 else ""
    spread = "Bands (not drawn for floors and ceiling)" if axes_fields else "Bars"
    caption = (
        f"{_word(score)}{against}{each}. Points: means over {seeds_text(rows)} on the test split. "
        f"{_interval(rows, spread)}{_averaged(trials, dataset_fields, axes_fields)}{_counts(trials)}"
    )
    if is_failed(trials).any():
        caption += (
            " Open marker: some trials of that point failed and are not in its mean; cross at the bottom: all did."
        )
    return _save(figure, rows, caption, folder, "score_lines")


def _draw_lines(
    rows: pd.DataFrame, looks: Mapping[str, Style], dials: list[tuple[str, list[str]]], score: str
) -> Figure:
    (x, x_levels), (panel, panel_levels) = (dials + [("", [""])])[:2]
    n_columns = {1: 1, 2: 2, 4: 2}.get(len(panel_levels), 3)
    n_rows = math.ceil(len(panel_levels) / n_columns)
    handles = _handles(looks, rows)
    n_legend_columns = _legend_columns(list(looks))
    height = 0.45 + 1.75 * n_rows + 0.15 * math.ceil(len(handles) / n_legend_columns)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    positions = _positions(x_levels)
    for axes, level in zip(grid.flat, panel_levels, strict=False):
        shown = rows[rows[panel] == level] if panel else rows
        for label, look in looks.items():
            _draw_line(axes, shown[shown["label"] == label], look, x, positions, score)
        if panel:
            axes.set_title(_title(f"{_word(panel)}: {level}", WIDTH / n_columns - 0.4), linespacing=1.1)
        _set_ticks(axes, positions, WIDTH / n_columns - 0.5)
        axes.set_xlabel(_word(x))
    for axes in grid.flat[len(panel_levels) :]:
        axes.remove()
    if _is_bounded(score):
        grid[0, 0].set_ylim(top=min(1.01, grid[0, 0].get_ylim()[1]))
    for axes in grid[:, 0]:
        axes.set_ylabel(_word(score))
    figure.legend(handles=handles, loc="outside lower center", ncols=n_legend_columns, handlelength=3)
    return figure


def _draw_line(axes: Axes, line: pd.DataFrame, look: Style, x: str, positions: Mapping[str, float], score: str) -> None:
    line = line.set_index(x).reindex(list(positions))  # a gap where there is no mean
    at, is_method = pd.Series(positions), (line["role"] == "method").any()
    if is_method:
        axes.fill_between(at, line[f"{score}_low"], line[f"{score}_high"], color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(at, line[score], color=look.colour, linestyle=look.line, linewidth=1.2 if is_method else 0.7)
    _draw_markers(axes, at, line[score], line["n_failed"] > 0, look, size=3.4 if is_method else 2)
    lost = at[line[score].isna() & (line["n_failed"] > 0)]
    axes.plot(lost, [0.02] * len(lost), "x", color=look.colour, markersize=4, transform=axes.get_xaxis_transform())


def _draw_list(
    rows: pd.DataFrame, looks: Mapping[str, Style], dials: list[tuple[str, list[str]]], score: str
) -> Figure:
    figure = Figure(figsize=(WIDTH, 0.5 + 0.17 * len(looks)), layout="constrained")
    axes = figure.subplots()
    for place, (label, look) in enumerate(looks.items()):
        row = rows[rows["label"] == label]
        at = pd.Series(place, index=row.index)
        axes.errorbar(
            row[score], at, xerr=row[f"{score}_half"], fmt="none", ecolor=look.colour, elinewidth=1, capsize=2
        )
        _draw_markers(axes, row[score], at, row["n_failed"] > 0, look, size=4)
    axes.set_yticks(range(len(looks)), list(looks))
    axes.set_ylim(len(looks) - 0.5, -0.5)
    axes.set_xlabel(_word(score))
    axes.grid(axis="x", linewidth=0.4, color="0.9")
    axes.set_axisbelow(True)
    return figure


def _draw_markers(axes: Axes, x: pd.Series, y: pd.Series, is_open: pd.Series, look: Style, size: float) -> None:
    for chosen, face in ((~is_open, look.colour), (is_open, "white")):
        axes.plot(x[chosen], y[chosen], linestyle="", **_marker(look, size, face), zorder=3)


def _marker(look: Style, size: float, face: str) -> dict[str, Any]:
    return {
        "marker": look.marker,
        "markersize": 1.4 * size if look.marker in SPARE_MARKERS else size,
        "markeredgecolor": look.colour,
        "markerfacecolor": face,
        "markeredgewidth": 0.7,
    }


def _handles(looks: Mapping[str, Style], rows: pd.DataFrame) -> list[Line2D]:
    roles = dict(zip(rows["label"], rows["role"], strict=True))
    return [
        Line2D(
            *([], []),
            color=look.colour,
            linestyle=look.line,
            linewidth=1.2 if roles[label] == "method" else 0.7,
            label=label,
            **_marker(look, 3.4 if roles[label] == "method" else 2, look.colour),
        )
        for label, look in looks.items()
    ]


def _legend_columns(names: Sequence[str]) -> int:
    fitting = max(1, int(WIDTH / (0.5 + CHARACTER * max(map(len, names)))))
    n_rows = math.ceil(len(names) / fitting)
    return math.ceil(len(names) / n_rows)


@matplotlib.rc_context(PRINT)
def heat_map(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    folder: str | Path,
    x: str = "domains",
    y: str = "violation",
    score: str = HEADLINE,
) -> list[Path]:
    """heat_map.*: one small map per label, the values of `x` along its columns and those of `y` along its rows.

    Where `x` or `y` does not vary, another dataset field that does takes its place. Failed trials hatch their cell.
    """
    x, y = (_choose(cells(trials, dataset_fields), x, y) + [x, y])[:2]
    rows = _points(trials, method_fields, [x, y], score)
    rows["promised"] = _promised(trials, method_fields, rows, [x, y])
    labels_in_order = list(styles(trials, method_fields))
    figure = _draw_maps(rows, labels_in_order, (x, _levels(trials[x])), (y, _levels(trials[y])[::-1]), score)
    caption = (
        f"{_word(score)}, of each method against {_lower(x)} and {_lower(y)}. Values: means over {seeds_text(rows)} on "
        f"the test split. {_interval(rows, 'In heat_map.csv')}"
        f"{_averaged(trials, dataset_fields, [x, y])}{_counts(trials)}"
    )
    if not is_ok(trials).all():
        caption += " Hatched: some or all trials of the cell failed and are not in its mean; n/a: not applicable."
    if (rows["promised"] == 1).any():
        caption += f" {OUTLINE_MEANING}"
    return _save(figure, rows, caption, folder, "heat_map")


@matplotlib.rc_context(PRINT)
def promise_map(audit: pd.DataFrame, x: str, y: str, folder: str | Path, name: str) -> list[Path]:
    """A map per promise of the oracle: the fraction of latents it holds for, by two fields of the cells of `audit`.

    `audit` is a table of `bench.audit`; what varies in it beside `x` and `y` is averaged over.
    """
    texts = {field: audit[field].map(value_text) for field in (x, y)}
    long = audit.assign(**texts).melt([x, y], list(PROMISE_WORDS), var_name="label", value_name="promised")
    rows = long.groupby(["label", x, y], sort=False)["promised"].mean().reset_index()
    rows = rows.assign(label=rows["label"].map(PROMISE_WORDS), n_ok=1, n_failed=0)
    names = list(PROMISE_WORDS.values())
    figure = _draw_maps(rows, names, (x, _levels(audit[x])), (y, _levels(audit[y])[::-1]), "promised")
    caption = (
        f"Fraction of latents that theory promises to identify, by {_lower(x)} and {_lower(y)}: by sparsity of the mixing (Zheng et al. "
        f"2022), by sparsity and independence of the latents, by the changes between domains, and by all of these. Means over "
        f"{int(audit['instances'].max())} data seeds. Outlined: cells in which every latent is promised. The conditions are sufficient, "
        f"not necessary."
    )
    return _save(figure, rows, caption, folder, name)


def _promised(
    trials: pd.DataFrame, method_fields: Sequence[str], rows: pd.DataFrame, fields: Sequence[str]
) -> pd.Series:
    """For each of `rows`, the fraction of latents that the promise on which its method rests holds for; NaN where it has none."""
    if "promise" not in trials:
        return pd.Series(np.nan, index=rows.index)

    def fraction(trial: pd.Series) -> float:
        verdicts = trial[trial["promise"]] if trial["promise"] else None
        return np.nan if verdicts is None else float(np.mean([verdict == "yes" for verdict in verdicts]))

    texts = {field: trials[field].map(value_text) for field in fields}
    values = trials.assign(label=labels(trials, method_fields), **texts, promised=trials.apply(fraction, axis=1))
    means = values.groupby(["label", *fields])["promised"].mean()
    return rows.apply(lambda row: means.get((row["label"], *row[list(fields)]), np.nan), axis=1)


def _outline(axes: Axes, inside: np.ndarray) -> None:
    """A line around the cells of a map, boolean (rows, columns), that are `inside`."""
    padded = np.pad(inside, 1)
    segments = [((c, r), (c + 1, r)) for r, c in zip(*np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1]), strict=True)]
    segments += [((c, r), (c, r + 1)) for r, c in zip(*np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1]), strict=True)]
    for colour, width in (("white", 2.2), ("black", 1.0)):
        lines = LineCollection(segments, colors=colour, linewidths=width, capstyle="projecting", zorder=4)
        axes.add_collection(lines)
        lines.set_clip_on(False)


def _draw_maps(
    rows: pd.DataFrame, names: list[str], x: tuple[str, list[str]], y: tuple[str, list[str]], score: str
) -> Figure:
    (x_field, x_levels), (y_field, y_levels) = x, y
    n_columns, cell_width, cell_height = _map_shape(len(names), len(x_levels), len(y_levels))
    n_rows = math.ceil(len(names) / n_columns)
    titles = [_title(name, cell_width * len(x_levels)) for name in names]
    title_height = 0.1 + 0.11 * max(title.count("\n") + 1 for title in titles)
    height = 0.6 + n_rows * (title_height + cell_height * len(y_levels))
    figure = Figure(figsize=(WIDTH, max(height, MIN_HEIGHT)), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    low, high = _range(rows[score], score)
    is_annotated = cell_width >= MIN_CELL[0] and cell_height >= MIN_CELL[1]
    for axes, name, title in zip(grid.flat, names, titles, strict=False):
        own = rows[rows["label"] == name]
        values = own.pivot(index=y_field, columns=x_field, values=score).reindex(index=y_levels, columns=x_levels)
        texts = values.map(lambda value: number(value, 2)) if is_annotated else False
        options = {"vmin": low, "vmax": high, "cmap": "viridis", "cbar": False, "linewidths": 0.3}
        sns.heatmap(values, ax=axes, annot=texts, fmt="", annot_kws={"size": 6.5}, **options)
        for _, cell in own.iterrows():
            place = x_levels.index(cell[x_field]), y_levels.index(cell[y_field])
            if cell["n_failed"]:
                ink = "0.9" if cell[score] < (low + high) / 2 else "0.3"
                axes.add_patch(Rectangle(place, 1, 1, fill=False, hatch=HATCH, edgecolor=ink, linewidth=0))
            elif not cell["n_ok"]:
                axes.text(place[0] + 0.5, place[1] + 0.5, "n/a", ha="center", va="center", fontsize=6, color="0.4")
        if "promised" in own:
            shares = own.pivot(index=y_field, columns=x_field, values="promised")
            _outline(axes, shares.reindex(index=y_levels, columns=x_levels).to_numpy() >= 1)
        axes.set_title(title, linespacing=1.1)
        axes.set(xlabel="", ylabel="")
        axes.tick_params(length=0)
        _thin(axes.xaxis, x_levels, cell_width)
        axes.set_yticks(np.arange(len(y_levels)) + 0.5, y_levels, rotation=0)
    used = list(grid.flat[: len(names)])
    for axes in grid.flat[len(names) :]:
        axes.remove()
    for axes in used[-n_columns:]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel(_word(x_field), fontsize=8)
    figure.supylabel(_word(y_field), fontsize=8)
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), "viridis"), ax=used, aspect=30, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(_word(score))
    keys: list[Any] = []
    if (rows["n_failed"] > 0).any():
        keys += [
            Patch(facecolor="white", edgecolor="0.4", hatch=HATCH, linewidth=0.4, label="some or all trials failed")
        ]
    if "promised" in rows and (rows["promised"] >= 1).any():
        keys += [Patch(facecolor="white", edgecolor="black", linewidth=1.0, label="theory promises every latent")]
    if keys:
        figure.legend(handles=keys, loc="outside upper right", ncols=len(keys))
    return figure


def _map_shape(n_maps: int, n_x: int, n_y: int) -> tuple[int, float, float]:
    """How many maps stand side by side, and the width and height of a cell in inches.

    As many as leave room for a cell's value; where no number of maps does, the one with the largest cells.
    """
    shapes = []
    for n_columns in range(1, min(n_maps, 5) + 1):
        n_rows = math.ceil(n_maps / n_columns)
        width = (WIDTH - 0.9 - 0.1 * n_columns) / (n_columns * n_x)
        height = min(0.2, (MAX_HEIGHT - 0.6 - 0.25 * n_rows) / (n_rows * n_y))
        room = min(width / MIN_CELL[0], height / MIN_CELL[1], 1)
        shapes.append((room, n_columns, width, height))
    return max(shapes)[1:]


def _range(values: pd.Series, score: str) -> tuple[float, float]:
    if score == "promised":
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (math.floor(low * 10) / 10, max(1.0, high)) if _is_bounded(score) else (low, high)


@matplotlib.rc_context(PRINT)
def recovered_latents(
    representations: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    folder: str | Path,
    where: str = "",
) -> list[Path]:
    """recovered_latents.*: each true latent against the estimate matched to it, for one data seed of one cell.

    `representations` has for each label z (n_samples, n_latents), z_hat (n_samples, n_estimated) and domains
    (n_samples,) from 0; `where`, if given, says in words of which seed of which cell. Methods and ceiling are drawn.
    Latents are matched by |Spearman| over all points given; the first 1000 are drawn.
    """
    roles = dict(zip(labels(trials, method_fields), trials["role"], strict=True))
    names = [label for label in styles(trials, method_fields) if label in representations and roles[label] != "floor"]
    if not names:
        return []
    points = pd.concat([_matched_points(label, *representations[label]) for label in names], ignore_index=True)
    figure = _draw_latents(points, names)
    missing = [label for label, role in roles.items() if label not in representations and role != "floor"]
    of_which = f" ({where})" if where else ""
    n_points = points.groupby(["label", "latent"]).size().max()
    caption = (
        "True latents against the estimates matched to them, one row per method, standardised and with matching signs, "
        f"for one data seed of one cell{of_which}: the first {n_points} points of the test split, coloured by domain. "
        "In the corner: |Spearman| over all points kept of this trial. Axes are cut at 3.2 standard deviations; no "
        "band: this is a single trial." + (f" Without a representation: {', '.join(missing)}." if missing else "")
    )
    return _save(figure, points, caption, folder, "recovered_latents")


def _matched_points(label: str, z: np.ndarray, z_hat: np.ndarray, domains: np.ndarray) -> pd.DataFrame:
    z = _standardised(np.asarray(z, dtype=float))
    parts = [
        pd.DataFrame(
            {
                "label": label,
                "latent": latent + 1,
                "spearman": spearman,
                "true": z[:, latent],
                "recovered": estimate,
                "domain": np.asarray(domains) + 1,
            }
        )
        for latent, (estimate, spearman) in enumerate(_matched(z, z_hat))
    ]
    return pd.concat([part.head(N_POINTS) for part in parts])


def _matched(z: np.ndarray, z_hat: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """For each true latent its estimate, standardised and sign-aligned, and |Spearman|; NaN and 0 without a match."""
    z_hat = np.asarray(z_hat, dtype=float)
    correlation = _correlation(rankdata(z, axis=0), rankdata(z_hat, axis=0))
    matches = dict(zip(*linear_sum_assignment(-np.abs(correlation)), strict=True))
    result = []
    for latent in range(z.shape[1]):
        if latent in matches:
            spearman = correlation[latent, matches[latent]]
            result.append((_standardised(z_hat[:, matches[latent]]) * np.sign(spearman), abs(float(spearman))))
        else:
            result.append((np.full(len(z), np.nan), 0.0))
    return result


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _standardised(a).T @ _standardised(b) / len(a)


def _standardised(values: np.ndarray) -> np.ndarray:
    """`values` with mean 0 and standard deviation 1 along the first axis; a constant becomes 0."""
    centred = values - values.mean(axis=0)
    scale = centred.std(axis=0)
    return centred / np.where(scale > 0, scale, 1.0)


def _draw_latents(points: pd.DataFrame, names: list[str]) -> Figure:
    n_latents, domains = points["latent"].max(), np.unique(points["domain"])
    side = min((WIDTH - 0.9) / n_latents, (MAX_HEIGHT - 0.75) / len(names), 1.1)
    figure = Figure(figsize=(WIDTH, side * len(names) + 0.75), layout="constrained")
    grid = figure.subplots(len(names), n_latents, sharex=True, sharey=True, squeeze=False)
    colours = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.95, len(domains))))
    bounds = BoundaryNorm(np.arange(len(domains) + 1) - 0.5, len(domains))
    for row, name in zip(grid, names, strict=True):
        for axes, (latent, panel) in zip(row, points[points["label"] == name].groupby("latent"), strict=True):
            place = np.searchsorted(domains, panel["domain"])
            options = {"s": 1.5, "linewidths": 0, "alpha": 0.7, "cmap": colours, "norm": bounds, "rasterized": True}
            axes.scatter(panel["true"], panel["recovered"], c=place, **options)
            box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8}
            text = number(panel["spearman"].iloc[0], 2) if panel["recovered"].notna().any() else "unmatched"
            axes.text(0.05, 0.94, text, transform=axes.transAxes, ha="left", va="top", fontsize=7, bbox=box)
            axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), xticks=(-2, 0, 2), yticks=(-2, 0, 2))
            if axes in grid[0]:
                axes.set_title(f"Latent {latent}")
        row[0].set_ylabel(_title(name, side), linespacing=1.1)
    figure.supxlabel("True latent (standardised)", fontsize=8)
    figure.supylabel("Recovered latent (standardised)", fontsize=8)
    bar = figure.colorbar(ScalarMappable(bounds, colours), ax=grid, aspect=40, fraction=0.03, pad=0.015)
    step = math.ceil(len(domains) / 12)
    bar.set_ticks(range(0, len(domains), step), labels=[str(domain) for domain in domains[::step]])
    bar.minorticks_off()
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    bar.set_label("Domain")
    return figure


def draw_all(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    representations: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    folder: str | Path,
    where: str = "",
) -> list[Path]:
    """Every figure that `trials` and `representations` allow, and the paths of all files: none if no trial is ok."""
    if not is_ok(trials).any():
        return []
    paths = score_lines(trials, method_fields, dataset_fields, folder)
    if len(cells(trials, dataset_fields)) > 1:
        paths += heat_map(trials, method_fields, dataset_fields, folder)
    return paths + recovered_latents(representations, trials, method_fields, folder, where)


def _choose(varying: Sequence[str], *preferred: str) -> list[str]:
    """As many of the `varying` fields as are `preferred`, those first, in their order."""
    ordered = [field for field in preferred if field in varying]
    return (ordered + [field for field in varying if field not in ordered])[: len(preferred)]


def _points(trials: pd.DataFrame, method_fields: Sequence[str], fields: Sequence[str], score: str) -> pd.DataFrame:
    """The summary of `score` by label and `fields`, whose values are texts here."""
    texts = {field: trials[field].map(value_text) for field in fields}
    trials = trials.assign(label=labels(trials, method_fields), **texts)
    return summary(trials, ["label", "method", "role", *fields], [score])


def _levels(values: pd.Series) -> list[str]:
    return [value_text(value) for value in values.drop_duplicates().sort_values()]


def _positions(levels: Sequence[str]) -> dict[str, float]:
    """Where on an axis each level is: at its value if all are numbers, else one after the other."""
    try:
        return {level: float(level) for level in levels}
    except ValueError:
        return {level: float(place) for place, level in enumerate(levels)}


def _set_ticks(axes: Axes, positions: Mapping[str, float], width: float) -> None:
    places = list(positions.values())
    if min(places) > 0 and max(places) >= 20 * min(places):
        axes.set_xscale("log")
    step = math.ceil(sum(len(level) + 1.5 for level in positions) * CHARACTER / width)
    axes.set_xticks(places[::step], list(positions)[::step])
    axes.xaxis.set_minor_locator(NullLocator())


def _thin(axis: XAxis, levels: Sequence[str], cell_width: float) -> None:
    step = math.ceil((max(map(len, levels)) + 0.7) * CHARACTER / cell_width)
    axis.set_ticks(np.arange(0, len(levels), step) + 0.5, levels[::step], rotation=0)


def _word(name: str) -> str:
    return WORDS.get(name, name.replace("_", " ").capitalize())


def _lower(name: str) -> str:
    word = _word(name)
    return word[0].lower() + word[1:]


def _title(text: str, width: float) -> str:
    return textwrap.fill(text, max(8, int(width / CHARACTER)))


def _is_bounded(score: str) -> bool:
    return score.startswith(("mcc", "r2"))


def _interval(rows: pd.DataFrame, what: str) -> str:
    n_seeds = int(rows["n_seeds"].max())
    return f"{what}: 95 % {interval_name(n_seeds)} intervals over data seeds. " if n_seeds > 1 else ""


def _averaged(trials: pd.DataFrame, dataset_fields: Sequence[str], shown: Sequence[str]) -> str:
    others = [_lower(field) for field in cells(trials, dataset_fields) if field not in shown]
    return f"A data seed's score is its mean over {', '.join(others)}. " if others else ""


def _counts(trials: pd.DataFrame) -> str:
    n_failed = int(is_failed(trials).sum())
    n_not_applicable = len(trials) - int(is_ok(trials).sum()) - n_failed
    rest = f", {n_not_applicable} not applicable" if n_not_applicable else ""
    return f"{len(trials)} trials, {n_failed} of them failed{rest}."


def _save(figure: Figure, data: pd.DataFrame, caption: str, folder: str | Path, name: str) -> list[Path]:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in ("pdf", "png", "csv", "txt")]
    figure.savefig(paths[0], metadata={"CreationDate": None})
    figure.set_layout_engine("none")  # the layout of the PDF stays
    figure.savefig(paths[1])
    data.to_csv(paths[2], index=False)
    paths[3].write_text(textwrap.fill(caption, 100) + "\n", encoding="utf-8")
    return paths
