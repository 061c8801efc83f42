"""The figures of a run, drawn for print: PDF with embedded TrueType fonts, PNG, SVG, the plotted numbers as CSV, a caption.

A method looks the same in every figure of every run. Trials that are not ok enter no mean, but every CSV and caption counts them, and the
figures mark where they are. What is averaged, and how, is decided in `bench.report.results.summary`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.report.figures.agreement import agreement_and_score
from bench.report.figures.costs import cost_and_score
from bench.report.figures.halves import agreement_of_halves
from bench.report.figures.latents import recovered_latents, recovered_support
from bench.report.figures.lines import score_lines
from bench.report.figures.maps import phase_diagram, promise_map, synergy_map
from bench.report.figures.page import WIDTH, WIDTHS, Album, setting, with_plain_texts, with_short_paths
from bench.report.figures.pictures import samples_per_domain, swap_grids, traversals
from bench.report.figures.profiles import performance_profiles
from bench.report.figures.promises import recovery_by_promise
from bench.report.figures.ranks import critical_difference
from bench.report.figures.training import training, training_terms
from bench.report.results import Results, curves, example, pictured
from bench.run.store import write_bytes
from bench.scores import HEADLINE

__all__ = [
    "WIDTH", "WIDTHS", "Album", "Drawn", "Page", "agreement_and_score", "agreement_of_halves", "album", "cost_and_score", "critical_difference", "draw_all", "performance_profiles", "phase_diagram",
    "promise_map", "recovered_latents", "recovered_support", "recovery_by_promise", "samples_per_domain", "score_lines", "setting", "swap_grids", "synergy_map", "training",
    "training_terms", "traversals",
]  # fmt: skip


class Page(NamedTuple):
    """A figure as it was drawn: the name of its files, its SVG, and its caption."""

    name: str
    svg: str
    caption: str


class Drawn(NamedTuple):
    """The files of the figures, sentences about what could not be drawn, and the figures themselves.

    A report shows these pages and reads no file of the folder, in which anybody may have put one.
    """

    paths: list[Path]
    notes: list[str]
    pages: Sequence[Page] = ()


def draw_all(
    results: Results, folder: str | Path, style: str | Path | None = None, width: str | float = WIDTH
) -> Drawn:
    """Every figure that `results` allow. `style` is a matplotlib style, by name or file, for what is not decided here, `width` inches or a
    name of `WIDTHS`.
    """
    with tempfile.TemporaryDirectory() as own:
        paths, notes = _draw(results, own, style=style, width=width)
        contents = {path.name: path.read_bytes() for path in paths}
    for name, content in contents.items():
        write_bytes(Path(folder) / name, content)
    pages = [
        Page(path.stem, *(contents[path.stem + suffix].decode() for suffix in (".svg", ".txt")))
        for path in paths
        if path.suffix == ".svg"
    ]
    return Drawn([Path(folder) / name for name in contents], notes, pages)


def album(results: Results, style: str | Path | None = None, width: str | float = WIDTH) -> Album:
    """The same figures by name, as matplotlib has them; none is written."""
    found = Album()
    _draw(results, found, style=style, width=width)
    return found


def _draw(results: Results, folder: str | Album, **look: Any) -> tuple[list[Path], list[str]]:
    """The paths of what was written, and sentences about what could not be drawn."""
    results = with_plain_texts(with_short_paths(results))
    images, of_images = pictured(results)
    has_scores = not results.lacks_truth and bool((results.ok & results.trials[results.headline.name].notna()).any())
    if not has_scores and not images:
        known = "no trial has a score"
        unknown = "figures show how near estimates are to the true latents, which are not known"
        return [], [f"No figure is drawn for print, since {unknown if results.lacks_truth else known}."]
    draws = [score_lines, cost_and_score, agreement_of_halves]
    if results.headline.name == HEADLINE:
        draws += [synergy_map, critical_difference, performance_profiles, recovery_by_promise, agreement_and_score]
        draws += [phase_diagram] * (len(results.cells) > 1)
    kept, where = example(results)
    paths = [path for draw in draws * has_scores for path in draw(results, folder, **look)]
    for draw in (recovered_latents, recovered_support):
        paths += draw(results, kept, where, folder, **look)
    looks = curves(results)
    for draw in (training, training_terms):
        paths += draw(results, *looks, folder, **look)
    for draw in (swap_grids, traversals, samples_per_domain):
        paths += draw(results, images, of_images, folder, **look)
    note = "The figures of single trials are not drawn, since no latents of these trials are kept that can be read."
    return paths, [] if kept or images else [note]
