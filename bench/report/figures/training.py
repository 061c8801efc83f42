"""Learning curves: whether a method was trained to its end, which no score says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.report.figures import page
from bench.report.figures.looks import Look, families, family_panels, legend_below, looks_of
from bench.report.results import Results, by_value
from bench.scores import LOOK
from bench.text import count

LEAST = 1e-3  # nats above the best look: what is below is drawn there, since its logarithm says nothing


@page.printed
def training(results: Results, curves: pd.DataFrame, where: str, folder: str | Path) -> list[Path]:
    """training.*: how far the validation objective of each trial is above its least, by the steps done, a panel per ladder.

    `curves` and `where` are of `bench.report.results.curves`. The line is the median over data seeds, the band goes from the least to the
    greatest. Nothing where no model was looked at more than once.
    """
    rows = curves[curves.groupby("trial_id")["step"].transform("size") > 1].reset_index(drop=True)
    if rows.empty:
        return []
    rows["excess"] = rows["objective"] - rows.groupby("trial_id")["objective"].transform("min")
    shown = looks_of(results, rows["label"])
    seeds = rows["seed"].nunique()
    caption = (
        "Learning curves: by how much the validation objective of a model exceeds its own least, in nats, against the steps of training; "
        f"objectives of different methods are not comparable, but all should have ended low. Median over {seeds} data seed"
        f"{'s' if seeds > 1 else ''}{', from the least to the greatest (band)' if seeds > 1 else ''}"
        f"{f', of one cell ({where})' if where else ''}. Of restarts, the one that was kept. Differences below {LEAST} are drawn at {LEAST}; "
        "training.csv has every look, with the training loss."
    )
    return page.save(_draw(results, rows, shown), rows, caption, folder, "training")


@page.printed
def training_terms(results: Results, curves: pd.DataFrame, where: str, folder: str | Path) -> list[Path]:
    """training_terms.*: each term of the loss, with its weight, on validation points by the steps done, a panel per term.

    `curves` and `where` are of `bench.report.results.curves`. The line is the median over data seeds. Nothing where no method has terms.
    """
    fields = ["label", "trial_id", "seed", *LOOK]
    rows = curves.melt(fields, var_name="term").dropna(subset="value").reset_index(drop=True)
    rows = rows[np.isfinite(rows["value"])].reset_index(drop=True)  # a model that diverged has terms that no axis holds
    rows["term"] = by_value(rows["term"], page.plain)
    if rows["step"].nunique() < 2:
        return []
    shown = looks_of(results, rows["label"])
    n_seeds = rows["seed"].nunique()
    caption = (
        "Terms of the loss, with their weights, on validation points against the steps of training. Median over "
        f"{count(n_seeds, 'data seed')}{f', of one cell ({where})' if where else ''}. Each axis leaves out the first tenth of the steps where it "
        "would press the rest together. Of restarts, the one that was kept."
    )
    return page.save(_draw_terms(rows, shown), rows, caption, folder, "training_terms")


def _draw_terms(rows: pd.DataFrame, shown: Mapping[str, Look]) -> Figure:
    terms = list(rows["term"].unique())
    figure, grid, n_columns = family_panels(terms, shown, sharex=True, sharey=False)
    for axes, term in zip(grid, terms, strict=True):
        own = rows[rows["term"] == term]
        for label, line in own.groupby("label", sort=False)["value"]:
            look, middle = shown[label], line.groupby(own.loc[line.index, "step"]).median()
            axes.plot(middle.index, middle, color=look.colour, linestyle=look.line, linewidth=look.width)
        late = own.loc[own["step"] >= own["step"].max() / 10, "value"]
        low, high = late.min(), late.max()
        room = 0.1 * max(high - low, 1e-3)
        axes.set(title=term[:1].upper() + term[1:], ylim=(low - room, high + room))
        axes.margins(x=0.01)
    for axes in grid[-n_columns:]:
        axes.set_xlabel("Step of training")
    figure.supylabel("Term of the loss, with its weight", fontsize=8)
    legend_below(figure, shown)
    return figure


def _draw(results: Results, rows: pd.DataFrame, shown: Mapping[str, Look]) -> Figure:
    groups = families(results, shown)
    figure, grid, n_columns = family_panels(groups, shown, sharex=True)
    for axes, (title, labels) in zip(grid, groups.items(), strict=True):
        for label in labels:
            own, look = rows[rows["label"] == label], shown[label]
            excess = own.groupby("step")["excess"].agg(["median", "min", "max"]).clip(lower=LEAST)
            axes.plot(excess.index, excess["median"], color=look.colour, linestyle=look.line, linewidth=look.width)
            axes.fill_between(excess.index, excess["min"], excess["max"], color=look.colour, alpha=0.12, linewidth=0)
        axes.set(title=title, yscale="log")
        axes.margins(x=0.01)
    finite = rows.loc[np.isfinite(rows["excess"]), "excess"]
    grid[0].set_ylim(0.8 * LEAST, max(1.0, 1.3 * float(finite.quantile(0.995))))
    for axes in grid[-n_columns:]:
        axes.set_xlabel("Step of training")
    figure.supylabel("Validation objective above its least, nats", fontsize=8)
    legend_below(figure, shown)
    return figure
