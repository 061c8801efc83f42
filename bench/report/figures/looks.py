"""How each method looks, in every figure alike: its colour and marker from one table or its name, its line from what it assumes."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import string
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.registry import ROLES, Facts
from bench.report.figures import page
from bench.report.results import Results, once

Marker = str | tuple[int, int, float]  # the latter: points, 1 for a star, degrees

LINES: dict[str, Any] = {  # by corner: "-", or the (offset, dashes) of matplotlib
    "neither": (0, (1.0, 1.2)),
    "sparsity": (0, (4.0, 1.5)),
    "changes": (0, (5.0, 1.2, 1.0, 1.2)),
    "both": "-",
}
# In the order of legends. The colours were searched for the greatest `contrast` of those that are often drawn together.
KNOWN: dict[str, tuple[str, Marker]] = {
    "vae": ("#5ec9ff", "s"),
    "sparse-vae": ("#009275", "^"),
    "ivae": ("#c070b9", "v"),
    "flow-vae": ("#34509a", "D"),
    "synergy-vae": ("#f4421a", "o"),
    "beta-vae": ("#3aa1f8", (4, 1, 0)),
    "gaussian-vae": ("#af09bc", (4, 1, 45)),
    "sparse-gaussian-vae": ("#7c8507", (3, 1, 270)),
    "sparse-ivae": ("#0b1277", (8, 1, 0)),
    "sparse-dependent-vae": ("#3c1f51", (5, 1, 0)),
    "gan": ("#d0bf67", "<"),
    "sparse-gan": ("#8e9244", ">"),
    "domain-gan": ("#30228d", "X"),
    "synergy-gan": ("#8f0d3b", "P"),
    "flow": ("#4fa36b", "p"),
    "sparse-flow": ("#217648", "h"),
    "domain-flow": ("#ad4eac", "d"),
    "synergy-flow": ("#d886d9", "8"),
    "tcl": ("#e7a22f", "H"),
    "sparse-dictionary": ("#8d5b00", (6, 1, 0)),
    "factor-analysis": ("#d94d94", (7, 1, 0)),
    "joint-diagonalisation": ("#835fe7", (3, 1, 90)),
    "supervised": ("#000000", "o"),
    "fastica": ("#444444", "s"),
    "pca": ("#5e5e5e", "^"),
    "identity": ("#a0a0a0", "D"),
    "random": ("#b8b8b8", "v"),
}
N_COLOURS = 256  # that a new method chooses from
MOST = 7  # methods in a panel


class Look(NamedTuple):
    """How a label is drawn: by colour, marker and line, so that colour is never needed. Ceiling and floors are smaller and thinner."""

    colour: str
    marker: Marker
    line: Any
    width: float  # of the line, in points
    size: float  # of the marker, in points


def facts(results: Results, method: str) -> Facts:
    """What is known of a method; of one that is no longer registered, nothing."""
    return results.methods.get(method, Facts("", "", ()))


@once
def looks(results: Results) -> dict[str, Look]:
    """The look of each label of `results`, in the order of legends: methods, ceiling, floors; the known ones, then others by name.

    A known method looks the same in every run. A new one has a colour and a letter that follow from its name; where they are taken, by a
    known method or by an earlier one of these results, it takes others. The settings of one method go from light to dark.
    """
    rows = results.labels.reset_index()[["role", "method", "label"]]
    known = list(KNOWN)
    places = [
        (ROLES.index(role), known.index(method) if method in known else len(known), method)
        for role, method in rows.iloc[:, :2].to_numpy()
    ]
    new: list[str] = []  # colours
    markers = {KNOWN[method][1] for method in rows["method"] if method in KNOWN}
    found = {}
    for (role, _, method), own in sorted(rows.groupby(pd.Series(places, index=rows.index))):
        if method not in KNOWN:
            new.append(_new_colour(method, ROLES[role], new))
        colour, marker = KNOWN.get(method) or (new[-1], _free(_letters(method), markers))
        line = LINES[facts(results, method).corner]
        width, size = (1.2, 3.4) if ROLES[role] == "method" else (0.7, 2.2)
        for label, shade in zip(sorted(own["label"], key=_natural), _shades(colour, len(own)), strict=True):
            found[label] = Look(shade, marker, line, width, size)
            markers.add(marker)
            marker = _free((shape for _, shape in KNOWN.values()), markers)
    return found


def looks_of(results: Results, labels: pd.Series) -> dict[str, Look]:
    """The looks of those labels that are among `labels`, in the order of all."""
    there = set(labels.unique())
    return {label: look for label, look in looks(results).items() if label in there}


def _natural(label: str) -> list[Any]:
    """A key by which numbers in labels sort by their value."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", label)
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]


def _new_colour(name: str, role: str, new: Sequence[str]) -> str:
    """A colour for a method that is not known, a grey for ceiling and floors.

    Some colours follow from the name. The one that is taken differs most from those of known methods and, twice as much, from `new`.
    """
    digest = hashlib.shake_256(name.encode()).digest(3 * N_COLOURS)
    numbers = np.frombuffer(digest, np.uint8).reshape(N_COLOURS, 3) / 255
    saturation = 0.5 if role == "method" else 0.0
    offered = [to_hex(rgb) for rgb in hsv_to_rgb([0, saturation, 0.35] + numbers * [1, saturation, 0.45])]
    least = 2 * contrast(offered, [colour for colour, _ in KNOWN.values()]).min(axis=1)
    if new:
        least = np.minimum(least, contrast(offered, new).min(axis=1))
    return offered[int(least.argmax())]


def _letters(name: str) -> Iterator[Marker]:
    """Those of the name, then all others, as markers."""
    return (
        f"$\\mathbf{{{letter}}}$"
        for letter in name.upper() + string.ascii_uppercase
        if letter in string.ascii_uppercase
    )


def _free(offered: Iterable[Marker], taken: Collection[Marker]) -> Marker:
    """The first marker that is not taken; where all are, a star of ever more points."""
    stars = ((n, 1, 0) for n in itertools.count(4))
    return next(marker for marker in itertools.chain(offered, stars) if marker not in taken)


def _shades(colour: str, n: int) -> list[str]:
    """`colour` itself, or `n` shades of it from light to dark."""
    rgb = np.array(to_rgb(colour))
    steps = np.linspace(0.5, -0.5, n) if n > 1 else [0.0]
    return [to_hex(tuple(rgb + step * (1 - rgb) if step > 0 else rgb * (1 + step))) for step in steps]


# --- how well two colours can be told apart

# Full protanopia, deuteranopia and tritanopia in linear RGB (Machado, Oliveira & Fernandes 2009), after normal sight.
SIGHTS = np.array([
    np.eye(3),
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
])  # fmt: skip
# From linear RGB to cones, and from their cube roots to lightness and two axes of hue (Ottosson 2020, OKLab).
CONES = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
OKLAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099], [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip


def contrast(colours: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """How well each of `colours` is told from each of `others`, (n_colours, n_others): their distance in OKLab, 1 for black and white.

    The least of the distances that normal, protanope, deuteranope and tritanope eyes see.
    """
    a, b = (_seen(each)[..., None, :] for each in (colours, others))
    return np.linalg.norm(a - b.swapaxes(1, 2), axis=-1).min(axis=0)


def _seen(colours: Iterable[str]) -> np.ndarray:
    """OKLab of the colours as each of `SIGHTS` sees them, (n_sights, n_colours, 3)."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.einsum("sij,nj->sni", SIGHTS, linear), 0, 1)
    return np.cbrt(seen @ CONES.T) @ OKLAB.T


# --- drawing by a look


def marker(look: Look, face: str | None = None) -> dict[str, Any]:
    """The marker of a look as options of a line, with a face of another colour where one is given."""
    larger, edge = (1.4, 0.7) if isinstance(look.marker, tuple) else (1.7, 0.3) if look.marker[0] == "$" else (1.0, 0.7)
    size = {"markersize": larger * look.size, "markeredgewidth": edge}
    return {"marker": look.marker, "markeredgecolor": look.colour, "markerfacecolor": face or look.colour, **size}


def draw_points(
    axes: Axes,
    at: Any,
    rows: pd.DataFrame,
    value: str,
    look: Look,
    is_open: Any = False,
    along: str = "y",
    has_bars: bool = True,
) -> None:
    """Markers at the column `value` of `rows` on the axis `along` and at `at` on the other, with their intervals, white inside if open."""
    at, is_open = np.broadcast_to(at, len(rows)), np.broadcast_to(is_open, len(rows))
    x, y = (at, rows[value].to_numpy()) if along == "y" else (rows[value].to_numpy(), at)
    if has_bars:
        ends = rows[[f"{value}_low", f"{value}_high"]].sub(rows[value], axis=0).abs().to_numpy().T
        axes.errorbar(x, y, **{f"{along}err": ends}, fmt="none", ecolor=look.colour, elinewidth=0.8 * look.width)
    for chosen, face in ((~is_open, None), (is_open, "white")):
        if chosen.any():
            axes.plot(x[chosen], y[chosen], linestyle="", zorder=3, **marker(look, face))


def fit(axes: Axes, rows: pd.DataFrame, value: str, along: str = "y") -> None:
    """Ends the axis `along` not too far from the values, where a few intervals would go on, and soon after 1, which bounds the scores."""
    low, high = rows[value].min(), rows[value].max()
    room = max(high - low, (rows[f"{value}_high"] - rows[f"{value}_low"]).median(), 0.02)
    ends = getattr(axes, f"get_{along}lim")()
    getattr(axes, f"set_{along}lim")(max(ends[0], low - room), min(ends[1], high + room, max(1.01, high)))


def legend(shown: Mapping[str, Look], n_columns: int = 1, with_lines: bool = True) -> dict[str, Any]:
    """The options of a figure's legend that names the looks."""
    entries = [
        Line2D([], [], color=look.colour, linestyle=look.line if with_lines else "", linewidth=look.width, label=label, **marker(look))
        for label, look in shown.items()
    ]  # fmt: skip
    return {"handles": entries, "ncols": n_columns, "handlelength": 3 if with_lines else 1}


def legend_below(figure: Figure, shown: Mapping[str, Look]) -> None:
    figure.legend(loc="outside lower center", **legend(shown, legend_columns(shown)))


def legend_columns(names: Collection[str]) -> int:
    """How many columns of a legend fit the page, its rows being as full as they can."""
    fitting = max(1, int(page.width() / (0.5 + page.CHARACTER * max(map(len, names)))))
    return math.ceil(len(names) / math.ceil(len(names) / fitting))


def legend_height(names: Collection[str]) -> float:
    """Inches."""
    return 0.15 * math.ceil(len(names) / legend_columns(names))


def family_panels(groups: Collection[str], shown: Collection[str], **sharing: Any) -> tuple[Figure, list[Axes], int]:
    """A figure with a panel for each of the `groups` of `families`, its panels, and how many stand side by side; a legend has room below."""
    n_columns = min(2, len(groups))
    n_rows = math.ceil(len(groups) / n_columns)
    room = legend_height(shown) + 0.4
    height = 1.8 if n_rows == 1 else max(0.9, min(1.5, (page.MAX_HEIGHT - room) / n_rows))
    sharing = {"sharey": True} | sharing
    return *page.panels(len(groups), n_columns, n_rows * height + room, **sharing), n_columns


def families(results: Results, shown: Collection[str]) -> dict[str, list[str]]:
    """Which of the labels `shown` share a panel, by its title: all, or where too many methods are among them, those of each ladder.

    Ceiling and floors are in every panel. Methods of no ladder share panels of their own, no more than `MOST` in each.
    """
    rows = results.labels
    methods = [label for label in shown if rows.loc[label, "role"] == "method"]
    others = [label for label in shown if label not in methods]
    if len(methods) <= MOST:
        return {"": [*methods, *others]}
    ladders: dict[str, list[str]] = {}
    for label in methods:
        ladder = facts(results, rows.loc[label, "method"]).ladder
        ladders.setdefault(f"{ladder} ladder" if ladder else "other methods", []).append(label)
    ladders["other methods"] = ladders.pop("other methods", [])  # last
    found = {}
    for title, labels in ladders.items():
        n_parts = math.ceil(len(labels) / MOST)
        for part in range(n_parts):
            size = math.ceil(len(labels) / n_parts)
            which = f" ({part + 1} of {n_parts})" if n_parts > 1 else ""
            found[title + which] = [*labels[part * size :][:size], *others]
    return found
