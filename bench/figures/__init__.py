"""The figures of a run, drawn for print: PDF with embedded TrueType fonts, PNG, SVG, the plotted numbers as CSV, a caption.

A method looks the same in every figure of every run. Trials that are not ok enter no mean, but every CSV and caption
counts them, and the figures mark where they are. What is averaged, and how, is decided in `bench.leaderboard.summary`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench import synergy
from bench.figures.comparisons import (
    cost_and_score,
    critical_difference,
    performance_profiles,
    recovery_by_promise,
)
from bench.figures.latents import recovered_latents, recovered_support
from bench.figures.lines import score_lines
from bench.figures.maps import phase_diagram, promise_map, synergy_map
from bench.figures.page import PRINT, WIDTH, Style, choose, setting, style, styles
from bench.leaderboard import cells, is_ok

__all__ = [
    "PRINT",
    "WIDTH",
    "choose",
    "Style",
    "cost_and_score",
    "critical_difference",
    "draw_all",
    "performance_profiles",
    "phase_diagram",
    "promise_map",
    "recovered_latents",
    "recovered_support",
    "recovery_by_promise",
    "score_lines",
    "setting",
    "style",
    "styles",
    "synergy_map",
]


def draw_all(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    representations: Mapping[str, Mapping[str, np.ndarray]],
    folder: str | Path,
    where: str = "",
    style: str | Path | None = None,
) -> list[Path]:
    """Every figure that `trials` and `representations` allow, and the paths of all files: none if no trial is ok."""
    if not is_ok(trials).any():
        return []
    fields = method_fields, dataset_fields
    varying = cells(trials, dataset_fields)
    dials = choose(varying, "domains", "violation")
    paths = score_lines(trials, *fields, folder, style=style)
    if len(varying) > 1:
        paths += phase_diagram(trials, *fields, folder, style=style)
    effects = synergy.table(trials, *fields, by=dials)
    effects = effects[effects["scope"] == synergy.CELL]
    if len(effects) > 1:
        constant = [field for field in ("violation", "domains", "dataset") if field in trials and field not in dials]
        x, y = [*dials, *constant][:2]
        shown = effects if y in dials else effects.assign(**{y: trials[y].iloc[0]})
        paths += synergy_map(shown, x, y, folder, style=style)
    paths += critical_difference(trials, *fields, folder, style=style)
    paths += performance_profiles(trials, method_fields, folder, style=style)
    paths += recovery_by_promise(trials, method_fields, folder, style=style)
    paths += recovered_latents(representations, trials, method_fields, folder, where, style=style)
    paths += recovered_support(representations, trials, method_fields, folder, where, style=style)
    return paths + cost_and_score(trials, method_fields, folder, style=style)
