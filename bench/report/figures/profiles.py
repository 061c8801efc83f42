"""Performance profiles: which fraction of its trials a method scores above each threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.report.figures import page
from bench.report.figures.looks import Look, draw_points, families, family_panels, legend_below, looks_of
from bench.report.results import RESPLITS, Results, is_resplit
from bench.report.texts import seeds_text
from bench.scores import HEADLINE, statistics
from bench.statuses import NOT_APPLICABLE

N_THRESHOLDS = 51
MARKED = np.array([0.8, 0.5, 0.2])  # about the shares at which a line has a marker and its interval


@page.printed
def performance_profiles(results: Results, folder: str | Path) -> list[Path]:
    """performance_profiles.*: the fraction of trials that score above each threshold, a line per label (Agarwal et al. 2021).

    Failed trials are above no threshold; those to which a method does not apply do not count. Nothing where no trial has a score.
    """
    score = results.trials[HEADLINE].where(results.ok)
    columns = ["label", "role", "seed", *{RESPLITS, "dataset"} & set(results.trials)]
    own = results.trials[columns].assign(score=score)[results.trials["status"] != NOT_APPLICABLE]
    if own["score"].isna().all():
        return []
    low = math.floor(10 * float(own["score"].min())) / 10
    thresholds = np.linspace(low, max(1.0, float(own["score"].max())), N_THRESHOLDS)
    shown = looks_of(results, own["label"])
    rows = _shares(own, list(shown), thresholds)
    axis = results.scores[HEADLINE].axis
    figure = _draw(results, rows, shown, f"Threshold on {axis}")
    seeds = "re-splits" if results.resplit else "data seeds"
    caption = (
        f"Performance profiles: the fraction of trials (cells by {seeds}) with {axis} above a threshold; higher is "
        f"better, and a failed trial is above none. {page.interval(rows, 'Bars at the markers')}{seeds_text(rows)}. {page.counts(results)}"
    )
    return page.save(figure, rows, caption, folder, "performance_profiles")


def _shares(trials: pd.DataFrame, labels: Sequence[str], thresholds: np.ndarray) -> pd.DataFrame:
    """One row per label and threshold: share, its interval's ends, and the number of seeds."""
    seeds = np.sort(trials["seed"].unique())
    shares = np.full((len(labels), len(seeds), len(thresholds)), np.nan)
    for (label, seed), group in trials.groupby(["label", "seed"])["score"]:
        scores = group.to_numpy(float)[None, :]
        place = labels.index(label), np.searchsorted(seeds, seed)
        shares[place] = statistics.performance_profile(scores, thresholds)
    mean, low, high, _ = (statistics.spread if is_resplit(trials) else statistics.mean_interval)(shares, bounds=(0, 1))
    rows = pd.MultiIndex.from_product([labels, thresholds], names=["label", "threshold"]).to_frame(index=False)
    rows[["share", "share_low", "share_high"]] = np.stack([mean, low, high], -1).reshape(-1, 3)
    roles = trials.drop_duplicates("label").set_index("label")["role"]
    if is_resplit(trials):
        rows[RESPLITS] = True
    return rows.assign(n_seeds=len(seeds), role=rows["label"].map(roles))


def _draw(results: Results, rows: pd.DataFrame, shown: Mapping[str, Look], x_label: str) -> Figure:
    groups = families(results, shown)
    figure, grid, n_columns = family_panels(groups, shown)
    for axes, (title, labels) in zip(grid, groups.items(), strict=True):
        for place, label in enumerate(labels):
            own, look = rows[rows["label"] == label], shown[label]
            axes.plot(own["threshold"], own["share"], color=look.colour, linestyle=look.line, linewidth=look.width)
            shares = MARKED + 0.02 * (place - len(labels) / 2)  # not the same for all
            marked = own.iloc[np.unique([(own["share"] - share).abs().argmin() for share in shares])]
            draw_points(axes, marked["threshold"], marked, "share", look)
        axes.set(title=title, ylim=(-0.02, 1.02))
        axes.margins(x=0.01)
    for axes in grid[-n_columns:]:
        axes.set_xlabel(page.wrapped(x_label, page.width() / n_columns - 0.3))
    figure.supylabel("Fraction of trials above", fontsize=8)
    legend_below(figure, shown)
    return figure
