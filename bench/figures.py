"""The figures of a run, drawn for print: PDF with embedded TrueType fonts, PNG, the plotted numbers as CSV, and a caption.

A method looks the same in every figure of every run. Trials that are not ok enter no mean, but every CSV and caption counts
them, and the figures mark where they are. What is averaged, and how, is decided in `bench.leaderboard.summary`.
"""

from __future__ import annotations

import hashlib
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from bench.leaderboard import HEADLINE, ROLES, cells, is_failed, is_ok, labels, number, seeds_text, summary, value_text

WIDTH = 5.5  # inches: the text width of ICLR, NeurIPS and JMLR
MAX_HEIGHT = 7.0  # inches, which leaves room for a caption on the page
CHARACTER = 0.054  # inches: about the width of a character at 7 pt
N_POINTS = 1000  # of a scatter plot
PRINT = {
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
    "hatch.linewidth": 0.5,
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
    "mcc_spearman": "MCC (Spearman), test",
    "mcc_pearson": "MCC (Pearson), test",
    "mcc_within": "MCC within domains, test",
    "r2_component": "$R^2$ by component, test",
    "r2_block": "$R^2$ by block, test",
    "r2_linear": "$R^2$, linear, test",
    "recon_nmse": "Reconstruction error (NMSE), test",
}


class Style(NamedTuple):
    """How a method is drawn: each of the three tells it from the others, so that colour is never needed."""

    colour: str
    marker: str | tuple[int, int, int]
    line: str | tuple[int, tuple[float, ...]]


SOLID = "-"
DASHED = (0, (4.0, 1.5))
DOTTED = (0, (1.0, 1.2))
DASH_DOT = (0, (5.0, 1.2, 1.0, 1.2))
DASH_DOT_DOT = (0, (5.0, 1.2, 1.0, 1.2, 1.0, 1.2))
LINES = (SOLID, DASHED, DOTTED, DASH_DOT, DASH_DOT_DOT)

# Okabe-Ito for the VAEs, Tol's muted set for the other families. Along a ladder the line tells the assumptions: dotted none,
# dashed sparsity, dash-dotted changes, solid both. This is also the order of legends.
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
# For all others: colours far from those above and from each other, and markers that no known method has.
SPARE_COLOURS = {
    "method": (
        *("#8F80EF", "#60CF70", "#105030", "#6040AF", "#FF8F80", "#CF9FEF"),
        *("#005080", "#8F6000", "#AF4050", "#308FDF", "#30CFBF", "#605000"),
    ),
    "ceiling": ("#1A1A1A", "#262626", "#333333"),
    "floor": ("#5E5E5E", "#7F7F7F", "#9E9E9E", "#BCBCBC"),
}
SPARE_MARKERS = ((3, 1, 0), (4, 1, 0), (4, 1, 45), (6, 1, 0), (8, 1, 0), (3, 1, 180))


def style(method: str, role: str = "method") -> Style:
    """The style of a method, which depends on nothing but its name and role."""
    if method in KNOWN:
        return KNOWN[method]
    digest = hashlib.sha256(method.encode()).digest()
    choices = (SPARE_COLOURS[role], SPARE_MARKERS, LINES)
    return Style(*(options[digest[i] % len(options)] for i, options in enumerate(choices)))


def styles(trials: pd.DataFrame, method_fields: Sequence[str]) -> dict[str, Style]:
    """The style of each label of `trials`, in the order of legends: methods, ceiling, floors, variants by their settings.

    The variants of one method share its hue, from light to dark, and differ in marker and line.
    """
    fields = [field for field in method_fields if field in trials]
    rows = trials.assign(label=labels(trials, method_fields)).drop_duplicates("label")
    places = {method: place for place, method in enumerate(KNOWN)}
    rows["place"] = [
        (ROLES.index(role), places.get(method, len(places)), method)
        for role, method in zip(rows["role"], rows["method"], strict=True)
    ]
    chosen = {}
    for _, variants in rows.groupby("place"):
        base = style(variants["method"].iloc[0], variants["role"].iloc[0])
        names = list(variants.sort_values([*fields, "label"])["label"])
        chosen.update(zip(names, _variants(base, len(names)), strict=True))
    return chosen


def _variants(base: Style, n: int) -> list[Style]:
    if n == 1:
        return [base]
    markers = [base.marker, *(known.marker for known in KNOWN.values() if known.marker != base.marker)]
    shades = np.linspace(0.55, -0.45, n)
    return [
        Style(_shade(base.colour, shade), markers[i % len(markers)], LINES[i % len(LINES)])
        for i, shade in enumerate(shades)
    ]


def _shade(colour: str, amount: float) -> str:
    """`colour` moved towards white by a positive amount, towards black by a negative one."""
    rgb = np.array(to_rgb(colour))
    return to_hex(rgb + amount * (1 - rgb) if amount > 0 else rgb * (1 + amount))


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
    """score_lines.*: the score of each label against `x` with its 95 % band over seeds, a panel for each value of `panel`.

    Where `x` or `panel` does not vary, another dataset field that does takes its place; where none does, the labels are listed
    with an error bar each.
    """
    axes_fields = _choose(cells(trials, dataset_fields), (x, panel))
    x, panel = axes_fields[0] if axes_fields else x, axes_fields[1] if len(axes_fields) > 1 else None
    looks = styles(trials, method_fields)
    rows = _labelled_summary(trials, method_fields, [x] + [panel] * bool(panel), score)
    panels = _levels(rows[panel]) if panel else [None]
    n_columns = min(len(panels), 3 if len(panels) != 4 else 2)
    n_rows = math.ceil(len(panels) / n_columns)
    listed = rows[x].nunique(dropna=False) == 1
    legend_columns, legend_rows = _legend_shape(list(looks))
    height = 0.35 + (0.16 * len(looks) + 0.2) * n_rows if listed else 0.4 + 0.15 * legend_rows + 1.75 * n_rows
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    draw = _draw_list if listed else _draw_lines
    for axes, level in zip(grid.flat, panels, strict=False):
        draw(axes, rows if level is None else rows[rows[panel].map(value_text) == level], looks, x, score)
        if panel and level is not None:
            axes.set_title(_title(panel, level, WIDTH / n_columns - 0.4))
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    _limit(grid[0, 0], score, vertical=not listed)
    if listed:
        figure.supxlabel(_word(score), fontsize=8)
    else:
        for axes in grid.flat[max(0, len(panels) - n_columns) : len(panels)]:
            axes.set_xlabel(_word(x))  # not the figure's, on which a legend outside would fall
            axes.tick_params(labelbottom=True)
        figure.supylabel(_word(score), fontsize=8)
        _label_ticks(grid, _levels(rows[x]), WIDTH / n_columns - 0.5)
        figure.legend(handles=_handles(looks, rows), loc="outside lower center", ncols=legend_columns, handlelength=3)
    against = "" if listed else f" against {_lower(_word(x))}"
    caption = (
        f"{_word(score)}{against}"
        + (f", one panel for each value of {_lower(_word(panel))}" if panel else "")
        + f". Points: means over {seeds_text(rows)} on the test split; "
        + ("bars: " if listed else "bands (not drawn for floors and ceiling): ")
        + "95 % Student-t intervals over data seeds. "
        + _averaged(trials, dataset_fields, [x, panel])
        + _counts(trials)
        + " Open markers: a trial of that point failed and is not in its mean."
    )
    return _save(figure, rows, caption, folder, "score_lines")


def _draw_lines(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Style], x: str, score: str) -> None:
    positions = _positions(_levels(rows[x]))
    for label, look in looks.items():
        line = rows[(rows["label"] == label) & rows[score].notna()]
        if line.empty:
            continue
        is_method = line["role"].iloc[0] == "method"
        at = line[x].map(value_text).map(positions).to_numpy(float)
        order = at.argsort()
        line, at = line.iloc[order], at[order]
        if is_method:
            low, high = line[f"{score}_low"].to_numpy(float), line[f"{score}_high"].to_numpy(float)
            axes.fill_between(at, low, high, color=look.colour, alpha=0.15, linewidth=0, zorder=2)
        width, size = (1.2, 3.4) if is_method else (0.7, 1.8)
        axes.plot(
            at, line[score], color=look.colour, linestyle=look.line, linewidth=width, zorder=4 if is_method else 3
        )
        _draw_markers(axes, at, line[score].to_numpy(float), line["n_failed"].to_numpy() > 0, look, size)


def _draw_list(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Style], x: str, score: str) -> None:
    for place, (label, look) in enumerate(looks.items()):
        row = rows[rows["label"] == label]
        value = row[score].to_numpy(float)
        axes.errorbar(value, [place] * len(row), xerr=row[f"{score}_half"], color=look.colour, linewidth=1.2, capsize=2)
        _draw_markers(axes, value, np.full(len(row), place), row["n_failed"].to_numpy() > 0, look, 4)
    axes.set_yticks(range(len(looks)), list(looks))
    axes.set_ylim(len(looks) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.4, color="0.9")
    axes.set_axisbelow(True)


def _draw_markers(axes: Axes, x: np.ndarray, y: np.ndarray, is_open: np.ndarray, look: Style, size: float) -> None:
    for chosen, face in ((~is_open, look.colour), (is_open, "white")):
        axes.plot(
            *(x[chosen], y[chosen]),
            **{"linestyle": "", "marker": look.marker, "markersize": size, "zorder": 5},
            **{"markeredgecolor": look.colour, "markerfacecolor": face, "markeredgewidth": 0.7},
        )


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
    """heat_map.*: the mean score of each label over `x` and `y`, a map per label, cells with failed trials hatched."""
    chosen = _choose(cells(trials, dataset_fields), (x, y))
    if not chosen:
        return []
    x, y = chosen[0], chosen[1] if len(chosen) > 1 else None
    looks = styles(trials, method_fields)
    rows = _labelled_summary(trials, method_fields, [x] + [y] * bool(y), score)
    columns, lines = _levels(rows[x]), _levels(rows[y])[::-1] if y else [""]
    n_columns = 2 if len(looks) > 1 else 1
    n_rows = math.ceil(len(looks) / n_columns)
    height = min(MAX_HEIGHT, 0.55 + n_rows * (0.26 + max(0.17 * len(lines), 0.2)) + 0.45)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    low, high = math.floor(10 * np.nanmin([*rows[score], 0.9])) / 10, 1.0
    legible = (WIDTH - 0.9) / n_columns / len(columns) > 0.19
    for axes, label in zip(grid.flat, looks, strict=False):
        own = rows[rows["label"] == label]
        own = own.assign(column=own[x].map(value_text), line=own[y].map(value_text) if y else "")
        square = {"index": "line", "columns": "column"}
        means = own.pivot(**square, values=score).reindex(index=lines, columns=columns)
        failed = own.pivot(**square, values="n_failed").reindex(index=lines, columns=columns) > 0
        sns.heatmap(
            means, ax=axes, vmin=low, vmax=high, cmap="viridis", cbar=False,
            annot=means.map(lambda mean: number(mean, 2)).to_numpy() if legible else False, fmt="", annot_kws={"fontsize": 6},
        )  # fmt: skip
        for place in np.argwhere(failed.to_numpy()):
            axes.add_patch(Rectangle(place[::-1], 1, 1, fill=False, linewidth=0, hatch="/////", edgecolor="0.6"))
        axes.set(xlabel="", ylabel="")
        axes.set_title(label, loc="left")
        axes.tick_params(length=0, rotation=0)
    for axes in grid.flat[len(looks) :]:
        axes.remove()
    figure.supxlabel(_word(x), fontsize=8)
    if y:
        figure.supylabel(_word(y), fontsize=8)
    bar = figure.colorbar(
        ScalarMappable(Normalize(low, high), "viridis"),
        ax=list(grid.flat[: len(looks)]),
        location="right",
        aspect=30,
        pad=0.02,
    )
    bar.set_label(_word(score))
    bar.outline.set_visible(False)
    caption = (
        f"{_word(score)} against {_lower(_word(x))}"
        + (f" and {_lower(_word(y))}" if y else "")
        + f". Means over {seeds_text(rows)} on the test split. "
        + _averaged(trials, dataset_fields, [x, y])
        + _counts(trials)
        + " Hatched: a trial of that cell failed and is not in its mean. Methods first, then the ceiling and the floors."
    )
    return _save(figure, rows, caption, folder, "heat_map")


@matplotlib.rc_context(PRINT)
def recovered_latents(
    representations: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    where: str,
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    folder: str | Path,
) -> list[Path]:
    """recovered_latents.*: each true latent against its matched estimate, for methods and ceiling.

    `representations` holds true latents (n_points, n_latents), estimates (n_points, n_estimated) and domains (n_points,) by label,
    all of one seed of one cell; `where` says in words which. Matched by Spearman correlation on the points shown.
    """
    roles = trials.assign(label=labels(trials, method_fields)).groupby("label")["role"].first()
    shown = [label for label in styles(trials, method_fields) if label in representations and roles[label] != "floor"]
    if not shown:
        return []
    n_latents = representations[shown[0]][0].shape[1]
    n_domains = int(max(representations[label][2].max() for label in shown)) + 1
    side = min((WIDTH - 1.1) / n_latents, (MAX_HEIGHT - 0.8) / len(shown), 1.1)
    figure = Figure(figsize=(WIDTH, side * len(shown) + 0.75), layout="constrained")
    grid = figure.subplots(len(shown), n_latents, sharex="col", squeeze=False)
    # Neither end: the lightest is lost on white paper.
    colours = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.9, n_domains)))
    norm = BoundaryNorm(np.arange(n_domains + 1) - 0.5, n_domains)
    records = []
    for line, label in zip(grid, shown, strict=True):
        z, z_hat, domains = (values[:N_POINTS] for values in representations[label])
        for latent, (axes, (estimate, correlation)) in enumerate(zip(line, _matched(z, z_hat), strict=True)):
            axes.scatter(
                z[:, latent], estimate, s=1.2, c=domains, cmap=colours, norm=norm, linewidth=0, rasterized=True
            )
            axes.text(0.04, 0.96, number(correlation, 2), transform=axes.transAxes, va="top", fontsize=6.5,
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6})  # fmt: skip
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[["top", "right"]].set_visible(True)
            columns = {
                "label": label,
                "latent": latent + 1,
                "domain": domains,
                "true": z[:, latent],
                "estimated": estimate,
            }
            records.append(pd.DataFrame(columns))
        line[0].set_ylabel(label, fontsize=7)
    for latent, axes in enumerate(grid[-1]):
        axes.set_xlabel(f"True latent {latent + 1}")
    figure.supylabel("Matched estimate, standardised", fontsize=8)
    if n_domains > 1:
        ticks = np.unique(np.linspace(0, n_domains - 1, min(n_domains, 10)).round().astype(int))
        bar = figure.colorbar(ScalarMappable(norm, colours), ax=grid.ravel().tolist(), ticks=ticks, aspect=40, pad=0.02)
        bar.ax.set_yticklabels([str(tick + 1) for tick in ticks])
        bar.ax.tick_params(length=0)
        bar.set_label("Domain")
        bar.outline.set_visible(False)
    caption = (
        f"True against recovered latents, {where}. {len(z)} points of the test split, coloured by domain; each estimate is matched to "
        "its true latent by Spearman correlation, standardised, and its sign aligned; numbers: absolute Spearman correlation over "
        "the points shown. One model per method, not a mean."
    )
    return _save(figure, pd.concat(records), caption, folder, "recovered_latents")


def draw_all(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    representations: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    where: str,
    folder: str | Path,
) -> list[Path]:
    """Every figure that the trials allow, as files in `folder`. See `recovered_latents` for `representations` and `where`."""
    if not is_ok(trials).any():
        return []
    return [
        *score_lines(trials, method_fields, dataset_fields, folder),
        *heat_map(trials, method_fields, dataset_fields, folder),
        *recovered_latents(representations, where, trials, method_fields, folder),
    ]


def _choose(varied: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """As many of the fields that vary as are wanted: those named, and in the place of one that does not vary another."""
    others = [field for field in varied if field not in wanted]
    chosen = [field if field in varied else (others.pop(0) if others else None) for field in wanted]
    return [field for field in chosen if field]


def _labelled_summary(
    trials: pd.DataFrame, method_fields: Sequence[str], fields: Sequence[str], score: str
) -> pd.DataFrame:
    trials = trials.assign(label=labels(trials, method_fields))
    return summary(trials, ["label", "method", "role", *fields], [score])


def _levels(values: pd.Series) -> list[str]:
    """The values in their order, as text; numbers by size, `none` first."""
    levels = values.drop_duplicates()
    key = levels.map(
        lambda value: (0, 0.0, "") if pd.isna(value) else (1, value, "") if _is_number(value) else (2, 0.0, value)
    )
    return [value_text(value) for value in levels.loc[key.sort_values().index]]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number))


def _positions(levels: Sequence[str]) -> dict[str, float]:
    """Where each level stands on the axis: at its value if all are numbers, else in its turn."""
    try:
        return {level: float(level) for level in levels}
    except ValueError:
        return {level: float(place) for place, level in enumerate(levels)}


def _label_ticks(grid: np.ndarray, levels: Sequence[str], width: float) -> None:
    """Labels every level, or every second, third, ... where `width` inches have no room for all."""
    positions = _positions(levels)
    longest = max(map(len, levels))
    step = math.ceil(len(levels) * (longest + 1) * CHARACTER / width)
    for axes in grid.flat:
        if axes.figure is not None:
            axes.set_xticks([positions[level] for level in levels[::step]], levels[::step])


def _legend_shape(names: Sequence[str]) -> tuple[int, int]:
    """Columns and rows of a legend as wide as the page."""
    width = max(map(len, names)) * CHARACTER + 0.5
    columns = max(1, min(len(names), int(WIDTH / width)))
    return columns, math.ceil(len(names) / columns)


def _handles(looks: Mapping[str, Style], rows: pd.DataFrame) -> list[Line2D]:
    roles = rows.groupby("label")["role"].first()
    return [
        Line2D(
            [], [], color=look.colour, linestyle=look.line, marker=look.marker, label=label,
            linewidth=1.2 if roles[label] == "method" else 0.7, markersize=3.4 if roles[label] == "method" else 1.8,
        )
        for label, look in looks.items()
    ]  # fmt: skip


def _title(field: str, level: str, width: float) -> str:
    text = f"{_word(field)}: {level}"
    return textwrap.fill(text, max(10, int(width / CHARACTER)))


def _limit(axes: Axes, score: str, vertical: bool) -> None:
    """Scores that end at 1 get an axis that ends there."""
    if score.startswith(("mcc", "r2")):
        set_limit = axes.set_ylim if vertical else axes.set_xlim
        set_limit(top=1.005) if vertical else set_limit(right=1.005)


def _word(field: str) -> str:
    return WORDS.get(field, field.replace("_", " "))


def _lower(words: str) -> str:
    return words[0].lower() + words[1:] if words[1:2].islower() else words


def _averaged(trials: pd.DataFrame, dataset_fields: Sequence[str], shown: Sequence[str | None]) -> str:
    """The sentence that names the fields over whose values the means go, if any."""
    hidden = [field for field in cells(trials, dataset_fields) if field not in shown]
    return f"Averaged over {', '.join(_lower(_word(field)) for field in hidden)}. " if hidden else ""


def _counts(trials: pd.DataFrame) -> str:
    failed = int(is_failed(trials).sum())
    return f"{len(trials)} trials, {failed} of them failed."


def _matched(z: np.ndarray, z_hat: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """For each true latent its estimate, standardised and sign-aligned, and |Spearman|; zeros for one without a match."""
    ranks = rankdata(np.hstack([z, z_hat]), axis=0)
    ranks = (ranks - ranks.mean(0)) / np.maximum(ranks.std(0), 1e-12)
    correlations = ranks[:, : z.shape[1]].T @ ranks[:, z.shape[1] :] / len(z)
    match = dict(zip(*linear_sum_assignment(-np.abs(correlations)), strict=True))
    result = []
    for latent in range(z.shape[1]):
        if latent not in match:
            result.append((np.zeros(len(z)), 0.0))
            continue
        estimate, correlation = z_hat[:, match[latent]], correlations[latent, match[latent]]
        scale = estimate.std() or 1.0
        result.append((np.sign(correlation) * (estimate - estimate.mean()) / scale, abs(float(correlation))))
    return result


def _save(figure: Figure, data: pd.DataFrame, caption: str, folder: str | Path, name: str) -> list[Path]:
    """The figure as PDF and PNG, its numbers as CSV, its caption as text."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in ("pdf", "png", "csv", "txt")]
    figure.savefig(paths[0], metadata={"CreationDate": None})
    figure.savefig(paths[1])
    data.to_csv(paths[2], index=False)
    paths[3].write_text(textwrap.fill(caption, 100) + "\n")
    return paths
