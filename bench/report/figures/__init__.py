"""The figures of a run, drawn for print: PDF with embedded TrueType fonts, PNG, SVG, the plotted numbers as CSV, a caption.

A method looks the same in every figure of every run. Trials that are not ok enter no mean, but every CSV and caption counts them, and the
figures mark where they are. What is averaged, and how, is decided in `bench.report.results.summary`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bench.report.figures.agreement import agreement_and_score
from bench.report.figures.costs import cost_and_score
from bench.report.figures.latents import recovered_latents, recovered_support
from bench.report.figures.lines import score_lines
from bench.report.figures.maps import phase_diagram, promise_map, synergy_map
from bench.report.figures.page import WIDTH, setting, with_short_paths
from bench.report.figures.profiles import performance_profiles
from bench.report.figures.promises import recovery_by_promise
from bench.report.figures.ranks import critical_difference
from bench.report.results import Results, example
from bench.scores import HEADLINE

__all__ = [
    "WIDTH", "Drawn", "agreement_and_score", "cost_and_score", "critical_difference", "draw_all", "performance_profiles", "phase_diagram",
    "promise_map", "recovered_latents", "recovered_support", "recovery_by_promise", "score_lines", "setting", "synergy_map",
]  # fmt: skip


class Drawn(NamedTuple):
    """The files of the figures, and sentences about what could not be drawn."""

    paths: list[Path]
    notes: list[str]


def draw_all(results: Results, folder: str | Path, style: str | Path | None = None) -> Drawn:
    """Every figure that `results` allow. `style` is a matplotlib style, by name or file, for what is not decided here."""
    results = with_short_paths(results)
    if not (results.ok & results.trials[HEADLINE].notna()).any():
        return Drawn([], ["No figure is drawn, since no trial has a score."])
    draws = [score_lines, synergy_map, critical_difference, performance_profiles, recovery_by_promise, cost_and_score]
    draws.append(agreement_and_score)
    if len(results.cells) > 1:
        draws.insert(1, phase_diagram)
    paths = [path for draw in draws for path in draw(results, folder, style=style)]
    kept, where = example(results)
    for draw in (recovered_latents, recovered_support):
        paths += draw(results, kept, where, folder, style=style)
    note = "The figures of single trials are not drawn, since no latents of these trials are kept that can be read."
    return Drawn(paths, [] if kept else [note])
