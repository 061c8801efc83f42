"""The page of a figure: its width and type, the words on it, what every caption says, and how it is saved."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import math
import os
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.files import read_bytes
from bench.registry import UsageError
from bench.report.results import COUNTED, RESPLITS, STRATUM, Results, by_value, coded, once, summary
from bench.report.texts import value_text
from bench.run.store import write_atomically, write_text
from bench.scores.statistics import interval_name
from bench.text import count, csv_text, one_line

WIDTH = 5.5  # inches
WIDTHS = {  # inches, of a page's text or of one of its two columns, as the styles of these venues set them
    "iclr": 5.5, "neurips": 5.5, "jmlr": 6.0, "tmlr": 6.5,
    "icml": 6.75, "icml-column": 3.25, "aistats": 6.75, "aistats-column": 3.25, "uai": 6.75, "uai-column": 3.25,
}  # fmt: skip
NARROWEST, WIDEST = 3.0, 12.0  # inches for which figures are laid out
MIN_HEIGHT = 1.9  # inches, which has room for the label of a vertical axis
MAX_HEIGHT = 7.0  # inches, which leaves room for a caption on the page
SCREEN_DPI = 150  # in a notebook
DPI = 300  # of the PNG, and of what is drawn as pixels in the PDF and SVG
TICK = 0.04  # inches: the least between two ticks
CHARACTER = 0.05  # inches: about the width of a character at 7 pt
FORMATS = ("pdf", "png", "svg", "csv", "txt")  # for print, slides, the report, the numbers drawn, the caption
PRINT: dict[Any, Any] = {
    "font.family": "STIXGeneral", "mathtext.fontset": "stix",  # Times-like, comes with matplotlib
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.titlepad": 3, "axes.labelpad": 2, "xtick.major.pad": 2, "ytick.major.pad": 2,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "hatch.linewidth": 0.4,
    "xtick.major.size": 2, "ytick.major.size": 2,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip
ALWAYS: dict[Any, Any] = {
    "pdf.fonttype": 42,  # TrueType, which conferences ask for
    "svg.fonttype": "path",
    "svg.hashsalt": "figure",  # the same figure is the same file
}
WORDS = {  # fields whose names are not words enough
    "dataset": "Data set",
    "path": "File",
    "domains": "Number of domains",
    "violation": "Violation of structural sparsity",
    "twins": "Fraction of latents with twins",
    STRATUM: "Stratum of the data",
    "n_latents": "Number of latents",
    "n_observed": "Number of observed variables",
    "n_samples": "Number of training points",
    "samples_per_domain": "Number of training points per domain",
    "density": "Density of the mixing",
    "nonlinearity": "Nonlinearity of the mixing",
    "mixing": "Kind of mixing",
    "noise": "Standard deviation of the noise",
    "shadow_size": "Size of each violating latent's shadow",
    "sources": "Distribution of the latents",
    "changes": "What changes between domains",
    "changing": "Fraction of latents that change",
    "change_strength": "Strength of the changes",
    "rank": "Most directions of change",
    "drift": "Number of values of u",
    "give_u": "Whether methods are given u",
    "dependence": "Correlation of latents within a domain",
}


@contextmanager
def setting(style: str | Path | None = None, width: str | float = WIDTH) -> Iterator[None]:
    """Figures drawn inside look as printed here, but for what `style` says: a matplotlib style, by name or file.

    They are as wide as `width` says: a name of `WIDTHS`, or inches. Raises UsageError for a style that matplotlib does not know, and for
    a width that is neither or for which figures are not laid out.
    """
    with matplotlib.rc_context(PRINT):
        if style is not None:
            _check_style(str(style))
            matplotlib.style.use(str(style))
        matplotlib.rcParams.update(ALWAYS | {"figure.figsize": (inches(width), MIN_HEIGHT)})
        yield


def width() -> float:
    """How wide a figure is that is drawn now, in inches."""
    return float(matplotlib.rcParams["figure.figsize"][0])


def inches(width: str | float) -> float:
    """The width in inches that a name of `WIDTHS` or a number stands for. Raises UsageError where it is neither."""
    if width in WIDTHS:
        return WIDTHS[str(width)]
    try:
        found = float(width)
    except ValueError:
        raise UsageError(f"there is no width {width!r}: say inches, or one of {', '.join(WIDTHS)}") from None
    if not NARROWEST <= found <= WIDEST:
        raise UsageError(f"figures are laid out for widths of {NARROWEST:g} to {WIDEST:g} inches, not {width}")
    return found


def _check_style(style: str) -> None:
    """Raises UsageError for what is neither the name of a style nor a file of text: matplotlib would fetch an address, or import a package."""
    if style in matplotlib.style.available:
        return
    try:
        read_bytes(style).decode()
    except FileNotFoundError:
        known = ", ".join(name for name in matplotlib.style.available if not name.startswith("_"))
        raise UsageError(f"matplotlib has no style {style!r}, nor is it a file; it has {known}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"the style {style!r} cannot be read ({reason})") from None


def printed(draw: Callable[..., list[Path]]) -> Callable[..., list[Path]]:
    """Gives a figure function the keywords of `setting`."""

    @functools.wraps(draw)
    def drawn(*args: Any, style: str | Path | None = None, width: str | float = WIDTH, **options: Any) -> list[Path]:
        with setting(style, width):
            return draw(*args, **options)

    return drawn


# --- words


def word(field: str) -> str:
    """What an axis says of a field."""
    return WORDS.get(field, field.replace("_", " ").capitalize())


def lower(field: str) -> str:
    """The same of a field, within a sentence."""
    text = word(field)
    return text[0].lower() + text[1:]


def wrapped(text: str, width: float) -> str:
    """`text` in lines that are so many inches long."""
    return textwrap.fill(text, max(8, int(width / CHARACTER)), break_long_words=False)


def signed(text: str) -> str:
    """A number with the minus sign that belongs in print."""
    return text.replace("-", "−")


def with_short_paths(results: Results) -> Results:
    """The same results, in whose trials a field that holds paths holds no more of each than tells it from the others."""
    trials = results.trials
    found = {}
    for field in (*results.dataset_fields, *results.method_fields):
        values = [] if trials[field].dtype.kind in "biuf" else coded(trials[field])[1]
        paths = {value for value in values if isinstance(value, str) and os.path.isabs(value)}
        if paths:
            found[field] = trials[field].replace(_short(paths))
    return results.replaced(trials.assign(**found)) if found else results


def plain(value: Any) -> Any:
    """A text that matplotlib takes for no formula, and of which a font has every letter; any other value as it is."""
    return one_line(value).replace("$", r"\$") if isinstance(value, str) else value


def with_plain_texts(results: Results) -> Results:
    """The same results, of whose methods and fields no text is taken for a formula by matplotlib, or holds what no font has."""
    trials = results.trials
    fields = ("method", "dataset", *results.dataset_fields, *results.method_fields)
    known = {field: coded(trials[field])[1] for field in fields if trials[field].dtype.kind not in "biuf"}
    texts = {
        field: by_value(trials[field], plain)
        for field, values in known.items()
        if any(plain(value) != value for value in values if isinstance(value, str))
    }
    if not texts and all(plain(name) == name for name in (*results.methods, *results.datasets)):
        return results
    methods, datasets = ({plain(name): facts for name, facts in k.items()} for k in (results.methods, results.datasets))
    return dataclasses.replace(results, trials=trials.assign(**texts), methods=methods, datasets=datasets)


def _short(paths: set[str]) -> dict[str, str]:
    """For each path its name, with as many of its folders as no other path shares."""
    tails = {path: ["/".join(Path(path).parts[-n:]) for n in range(1, 1 + len(Path(path).parts))] for path in paths}
    shared = Counter(itertools.chain.from_iterable(tails.values()))
    return {path: next(tail for tail in own if shared[tail] == 1) for path, own in tails.items()}


# --- axes


class Axis(NamedTuple):
    """A field along an axis: its values in order, as texts, and where they stand."""

    field: str
    levels: list[str]
    places: np.ndarray  # (n_levels,)
    is_numeric: bool  # else the values stand one after the other

    @property
    def gap(self) -> float:
        """The smallest distance of two neighbours, as a part of the whole axis."""
        return float(np.diff(self.places).min() / np.ptp(self.places)) if len(self.places) > 1 else 1.0


def axis(field: str, values: pd.Series) -> Axis:
    """Where the `values` of a field stand: numbers at their value, or at its logarithm where that spreads them more evenly."""
    kept = values.drop_duplicates()
    order = pd.to_numeric(kept, errors="coerce")
    levels = list(dict.fromkeys(kept.map(value_text).iloc[np.lexsort([kept.map(value_text), order])]))
    if order.isna().any() or len(levels) < 2:
        return Axis(field, levels, np.arange(len(levels), dtype=float), False)
    plain = Axis(field, levels, np.unique(order.to_numpy(float)), True)
    if plain.places[0] <= 0:
        return plain
    logarithmic = plain._replace(places=np.log(plain.places))
    return logarithmic if logarithmic.gap > 1.001 * plain.gap else plain


def set_ticks(axes: Axes, x: Axis, width: float) -> None:
    """A tick at each level of the horizontal axis, which is `width` inches long, and the names of those that have room.

    Where ticks would be one black bar, only what has a name has one.
    """
    names, free = [], -math.inf
    for place, level in zip((x.places - x.places[0]) * width / max(np.ptp(x.places), 1e-9), x.levels, strict=True):
        half = (len(level) + 1.5) * CHARACTER / 2
        names.append(level if place - half >= free else "")
        free = place + half if names[-1] else free
    chosen = [place for place, name in enumerate(names) if name or x.gap * width >= TICK]
    axes.set_xticks(x.places[chosen], [names[place] for place in chosen])
    axes.xaxis.set_minor_locator(NullLocator())


def choose(results: Results) -> list[str]:
    """The two dials that a figure shows, or the one that there is: number of domains and violation first, then any other."""
    dials = results.dials()
    ordered = [field for field in ("domains", STRATUM, "violation") if field in dials]
    return (ordered + [field for field in dials if field not in ordered])[:2]


def panel_title(group: str, field: str, level: str) -> str:
    """The title of a panel: its group of methods, if it has one, and the value of its field, if it has one. A stratum is words enough."""
    if field == STRATUM or not field:
        words = level
    else:
        words = f"{field.replace('_', ' ')} {level}" if group else f"{word(field)}: {level}"
    return ", ".join(filter(None, [group, words]))


def with_texts(rows: pd.DataFrame, fields: Sequence[str]) -> pd.DataFrame:
    """The same rows, with the values of `fields` as texts."""
    return rows.assign(**{field: by_value(rows[field], value_text) for field in fields})


@once
def points(results: Results, fields: Sequence[str], score: str) -> pd.DataFrame:
    """The summary of `score` by label and `fields`, whose values are texts here."""
    by = ["label", "method", "role", *fields]
    columns = [*dict.fromkeys([*by, "seed", score, "dataset", *COUNTED, RESPLITS])]
    return summary(with_texts(results.trials[columns], fields), by, [results.scores[score]])


def panels(n: int, n_columns: int, height: float, **sharing: Any) -> tuple[Figure, list[Axes]]:
    """A figure so many inches high, and its `n` panels, row by row."""
    figure = Figure(figsize=(width(), max(height, MIN_HEIGHT)), layout="constrained")
    grid = figure.subplots(math.ceil(n / n_columns), n_columns, squeeze=False, **sharing)
    for axes in grid.flat[n:]:
        axes.remove()
    found = list(grid.flat[:n])
    for axes in found[-n_columns:] if sharing.get("sharex") else []:
        axes.tick_params(labelbottom=True)  # of the lowest of each column, also where the last row is not full
    return figure, found


def colour_bar(figure: Figure, colours: ScalarMappable, axes: Sequence[Axes], label: str) -> Colorbar:
    """A bar beside `axes` that says what the colours mean."""
    bar = figure.colorbar(colours, ax=axes, aspect=30, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(label, labelpad=4)
    return bar


# --- captions


def interval(rows: pd.DataFrame, what: str) -> str:
    n_seeds = int(rows["n_seeds"].max())
    if "resplits" in rows:
        return f"{what}: spread over re-splits, from the least to the greatest. " if n_seeds > 1 else ""
    return f"{what}: 95 % {interval_name(n_seeds)} intervals over data seeds. " if n_seeds > 1 else ""


def averaged(results: Results, shown: Sequence[str]) -> str:
    others = [lower(field) for field in results.dials() if field not in shown]
    return f"A data seed's score is its mean over {', '.join(others)}. " if others else ""


def counts(results: Results) -> str:
    n_failed = int(results.failed.sum())
    n_not_applicable = len(results.trials) - int(results.ok.sum()) - n_failed
    rest = f", {n_not_applicable} not applicable" if n_not_applicable else ""
    n_missing = sum(results.missing.values())
    missing = f"; {n_missing} more were planned and have no result" if n_missing else ""
    return f"{count(len(results.trials), 'trial')}, {n_failed} of them failed{rest}{missing}."


# --- files


class Album(dict[str, Figure]):
    """Figures by name: it stands in the place of a folder where they are to be kept, and not written. `captions` are by name too."""

    def __init__(self) -> None:
        super().__init__()
        self.captions: dict[str, str] = {}


def save(figure: Figure, data: pd.DataFrame, caption: str, folder: str | Path | Album, name: str) -> list[Path]:
    """Writes the figure in `FORMATS`, each in the place of whatever has its name there, and returns the paths: none of an album."""
    if isinstance(folder, Album):
        vars(figure)["_repr_png_"] = functools.partial(_png, figure)  # by which a notebook shows it
        folder[name], folder.captions[name] = figure, caption
        return []
    if figure.get_figheight() > MAX_HEIGHT + 0.05:
        caption += f" This figure is {figure.get_figheight():.0f} inches high, more than a page: --where draws fewer methods or cells."
    folder = Path(folder)
    paths = {suffix: folder / f"{name}.{suffix}" for suffix in FORMATS}
    # By the canvases themselves, since savefig draws each figure twice. A canvas leaves its own resolution behind.
    figure.dpi = DPI
    write_atomically(
        paths["pdf"], lambda file: FigureCanvasPdf(figure).print_pdf(file, metadata={"CreationDate": None})
    )
    figure.set_layout_engine("none")  # the layout of the PDF stays
    figure.dpi = DPI
    write_atomically(paths["png"], FigureCanvasAgg(figure).print_png)
    figure.dpi = DPI
    write_atomically(paths["svg"], lambda file: FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None}))
    write_text(paths["csv"], csv_text(data))
    write_text(paths["txt"], textwrap.fill(caption, 100, break_on_hyphens=False) + "\n")
    return list(paths.values())


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=SCREEN_DPI)
    return content.getvalue()
