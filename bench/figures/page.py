"""The page of a figure: its width and type, its words, one colour, marker and line style per method, and how it is saved."""

from __future__ import annotations

import functools
import hashlib
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from bench.leaderboard import ROLES, cells, is_failed, is_ok, labels, summary, value_text
from bench.statistics import interval_name
from registry import UsageError

WIDTH = 5.5  # inches: the text width of ICLR, NeurIPS and JMLR
MIN_HEIGHT = 1.9  # inches, which has room for the label of a vertical axis
MAX_HEIGHT = 7.0  # inches, which leaves room for a caption on the page
DPI = 300  # of the PNG, and of what is drawn as pixels in the PDF and SVG
CHARACTER = 0.05  # inches: about the width of a character at 7 pt
FORMATS = (
    "pdf",
    "png",
    "svg",
    "csv",
    "txt",
)  # of every figure: for print, slides, the report, its numbers, its caption
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
}
ALWAYS: dict[Any, Any] = {
    "pdf.fonttype": 42,  # TrueType, which conferences ask for
    "svg.fonttype": "path",
    "svg.hashsalt": "figure",  # the same figure is the same file
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
    "support_ap": "Average precision of the support, test",
    "support_f1": "F1 score of the support, test",
    "consistency": "Consistency of restarts",
    "recon_nmse": "Reconstruction error (NMSE), test",
}


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
    "beta-vae": Style("#008FFF", (4, 1, 0), DOTTED),
    "gan": Style("#DDCC77", "<", DOTTED),
    "sparse-gan": Style("#999933", ">", DASHED),
    "domain-gan": Style("#332288", "X", DASH_DOT),
    "synergy-gan": Style("#882255", "P", SOLID),
    "flow": Style("#44AA99", "p", DOTTED),
    "sparse-flow": Style("#117733", "h", DASHED),
    "domain-flow": Style("#AA4499", "d", DASH_DOT),
    "synergy-flow": Style("#CC6677", "8", SOLID),
    "tcl": Style("#E69F00", "H", DASH_DOT_DOT),
    "sparse-dictionary": Style("#8F7000", (6, 1, 0), DASHED),
    "joint-diagonalisation": Style("#8F70EF", (3, 1, 90), DASH_DOT),
    "supervised": Style("#000000", "o", SOLID),
    "fastica": Style("#4D4D4D", "s", DASHED),
    "pca": Style("#707070", "^", DASH_DOT),
    "identity": Style("#8E8E8E", "D", DOTTED),
    "random": Style("#ADADAD", "v", DASH_DOT_DOT),
}
# For all others: colours at least 0.088 apart in OKLab from those above and each other, and markers of their own.
SPARE_COLOURS = {
    "method": [
        "#6040BF", "#50BF40", "#205000", "#BF2040", "#70008F", "#CF80FF",
        "#FF8060", "#00508F", "#705080", "#8070AF", "#309F00", "#007070", "#FF608F",
        "#508FBF", "#BF60CF", "#705000", "#9F8FCF", "#8F5050", "#4060DF", "#EF70CF", "#AF8050",
    ],
    "ceiling": ["#1A1A1A", "#262626", "#333333"],
    "floor": ["#5E5E5E", "#7F7F7F", "#9E9E9E", "#BCBCBC"],
}  # fmt: skip
SPARE_MARKERS = ((3, 1, 0), (4, 1, 45), (8, 1, 0), (3, 1, 180))


@contextmanager
def setting(style: str | Path | None = None) -> Iterator[None]:
    """Figures drawn inside look as printed here, but for what `style` says: a matplotlib style, by name or file.

    Raises UsageError for a style that matplotlib does not know.
    """
    with matplotlib.rc_context(PRINT):
        if style is not None:
            try:
                matplotlib.style.use(str(style))
            except OSError:
                known = ", ".join(name for name in matplotlib.style.available if not name.startswith("_"))
                raise UsageError(f"matplotlib has no style {str(style)!r}, nor is it a file; it has {known}") from None
        matplotlib.rcParams.update(ALWAYS)
        yield


def printed(draw: Callable[..., list[Path]]) -> Callable[..., list[Path]]:
    """Gives a figure function the keyword `style`, and `setting`."""

    @functools.wraps(draw)
    def drawn(*args: Any, style: str | Path | None = None, **options: Any) -> list[Path]:
        with setting(style):
            return draw(*args, **options)

    return drawn


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
    rows = trials[["method", "role", *fields]].drop_duplicates()
    rows = rows.assign(label=labels(rows, method_fields)).drop_duplicates("label")
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


def draw_markers(axes: Axes, x: pd.Series, y: pd.Series, is_open: pd.Series, look: Style, size: float) -> None:
    for chosen, face in ((~is_open, look.colour), (is_open, "white")):
        axes.plot(x[chosen], y[chosen], linestyle="", **marker(look, size, face), zorder=3)


def marker(look: Style, size: float, face: str) -> dict[str, Any]:
    return {
        "marker": look.marker,
        "markersize": 1.4 * size if isinstance(look.marker, tuple) else size,
        "markeredgecolor": look.colour,
        "markerfacecolor": face,
        "markeredgewidth": 0.7,
    }


def handles(looks: Mapping[str, Style], rows: pd.DataFrame) -> list[Line2D]:
    roles = dict(zip(rows["label"], rows["role"], strict=True))
    return [
        Line2D(
            *([], []),
            color=look.colour,
            linestyle=look.line,
            linewidth=1.2 if roles[label] == "method" else 0.7,
            label=label,
            **marker(look, 3.4 if roles[label] == "method" else 2, look.colour),
        )
        for label, look in looks.items()
    ]


def legend_columns(names: Sequence[str]) -> int:
    fitting = max(1, int(WIDTH / (0.5 + CHARACTER * max(map(len, names)))))
    n_rows = math.ceil(len(names) / fitting)
    return math.ceil(len(names) / n_rows)


def choose(varying: Sequence[str], *preferred: str) -> list[str]:
    """As many of the `varying` fields as are `preferred`, those first, in their order."""
    ordered = [field for field in preferred if field in varying]
    return (ordered + [field for field in varying if field not in ordered])[: len(preferred)]


def points(trials: pd.DataFrame, method_fields: Sequence[str], fields: Sequence[str], score: str) -> pd.DataFrame:
    """The summary of `score` by label and `fields`, whose values are texts here."""
    texts = {field: trials[field].map(value_text) for field in fields}
    trials = trials.assign(label=labels(trials, method_fields), **texts)
    return summary(trials, ["label", "method", "role", *fields], [score])


def levels(values: pd.Series) -> list[str]:
    return [value_text(value) for value in values.drop_duplicates().sort_values()]


def positions(levels: Sequence[str]) -> dict[str, float]:
    """Where on an axis each level is: at its value if all are numbers, else one after the other."""
    try:
        return {level: float(level) for level in levels}
    except ValueError:
        return {level: float(place) for place, level in enumerate(levels)}


def set_ticks(axes: Axes, positions: Mapping[str, float], width: float) -> None:
    places = list(positions.values())
    if min(places) > 0 and max(places) >= 20 * min(places):
        axes.set_xscale("log")
    step = math.ceil(sum(len(level) + 1.5 for level in positions) * CHARACTER / width)
    axes.set_xticks(places[::step], list(positions)[::step])
    axes.xaxis.set_minor_locator(NullLocator())


def word(name: str) -> str:
    return WORDS.get(name, name.replace("_", " ").capitalize())


def lower(name: str) -> str:
    text = word(name)
    return text[0].lower() + text[1:]


def title(text: str, width: float) -> str:
    return textwrap.fill(text, max(8, int(width / CHARACTER)))


def is_bounded(score: str) -> bool:
    return score.startswith(("mcc", "r2"))


def interval(rows: pd.DataFrame, what: str) -> str:
    n_seeds = int(rows["n_seeds"].max())
    return f"{what}: 95 % {interval_name(n_seeds)} intervals over data seeds. " if n_seeds > 1 else ""


def averaged(trials: pd.DataFrame, dataset_fields: Sequence[str], shown: Sequence[str]) -> str:
    others = [lower(field) for field in cells(trials, dataset_fields) if field not in shown]
    return f"A data seed's score is its mean over {', '.join(others)}. " if others else ""


def counts(trials: pd.DataFrame) -> str:
    n_failed = int(is_failed(trials).sum())
    n_not_applicable = len(trials) - int(is_ok(trials).sum()) - n_failed
    rest = f", {n_not_applicable} not applicable" if n_not_applicable else ""
    return f"{len(trials)} trials, {n_failed} of them failed{rest}."


def save(figure: Figure, data: pd.DataFrame, caption: str, folder: str | Path, name: str) -> list[Path]:
    """Writes the figure in `FORMATS`, and returns the paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {suffix: folder / f"{name}.{suffix}" for suffix in FORMATS}
    # By the canvases themselves, since savefig draws each figure twice. A canvas leaves its own resolution behind.
    figure.dpi = DPI
    FigureCanvasPdf(figure).print_pdf(paths["pdf"], metadata={"CreationDate": None})
    figure.set_layout_engine("none")  # the layout of the PDF stays
    figure.dpi = DPI
    FigureCanvasAgg(figure).print_png(paths["png"])
    figure.dpi = DPI
    FigureCanvasSVG(figure).print_svg(paths["svg"], metadata={"Date": None})
    data.to_csv(paths["csv"], index=False)
    paths["txt"].write_text(textwrap.fill(caption, 100) + "\n", encoding="utf-8")
    return list(paths.values())
