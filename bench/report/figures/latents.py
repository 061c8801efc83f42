"""What one data seed of one cell comes to: true latents against recovered ones, and the true support of the mixing against the recovered one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from bench.report.figures import page
from bench.report.figures.looks import looks
from bench.report.results import Results, registered
from bench.report.texts import number

N_POINTS = 1000  # of a scatter plot
TRUE_EDGE = "#D55E00"
MIN_CELL = (0.22, 0.11)  # inches: width and height of a cell of a support that has room for its value
Kept = Mapping[str, Mapping[str, np.ndarray]]


@page.printed
def recovered_latents(results: Results, kept: Kept, where: str, folder: str | Path) -> list[Path]:
    """recovered_latents.*: each true latent against the estimate matched to it, for one data seed of one cell.

    `kept` has for each label `z` (n_samples, n_latents), `z_hat` (n_samples, n_estimated) and `domains` (n_samples,) from 0; `where` says in
    words of which seed of which cell. Methods and ceiling are drawn. Latents are matched as the scores match them, by `match` (n_latents,),
    the estimate of each latent or -1; where an early run kept none, by |Spearman| over all points given. The first 1000 points are drawn.
    Nothing where no such label has latents.
    """
    roles = results.labels["role"]
    wanted = [label for label in looks(results) if roles[label] != "floor"]
    names = [label for label in wanted if label in kept and kept[label]["z"].shape[1]]
    if not names:
        return []
    points = pd.concat([_matched_points(label, kept[label]) for label in names], ignore_index=True)
    missing = [label for label in wanted if label not in kept]
    n_points = points.groupby(["label", "latent"]).size().max()
    caption = (
        "True latents against the estimates matched to them, one row per method, standardised and with matching signs, "
        f"for one data seed of one cell ({where}): the first {n_points} points of the test split, coloured by domain. "
        "In the corner: |Spearman| over all points kept of this trial. Axes are cut at 3.2 standard deviations; no "
        "interval: this is a single trial." + (f" Without latents: {', '.join(missing)}." if missing else "")
    )
    return page.save(_draw_latents(points, names), points, caption, folder, "recovered_latents")


def _matched_points(label: str, kept: Mapping[str, np.ndarray]) -> pd.DataFrame:
    z = _standardised(np.asarray(kept["z"], dtype=float))
    estimates, scores = matched(z, kept["z_hat"], kept.get("match"))
    n_points, latents = min(len(z), N_POINTS), np.arange(z.shape[1])
    columns = {
        "latent": np.repeat(latents + 1, n_points),
        "spearman": np.repeat(scores, n_points),
        "true": z[:n_points].T.ravel(),
        "recovered": estimates[:n_points].T.ravel(),
        "domain": np.tile(np.asarray(kept["domains"])[:n_points].astype(int) + 1, len(latents)),
    }
    return pd.DataFrame({"label": label, **columns})


def matched(z: np.ndarray, z_hat: np.ndarray, match: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """For each column of `z` (n_samples, n_latents) the column of `z_hat` matched to it, and |Spearman| (n_latents,).

    `match` is as in `recovered_latents`. Estimates are standardised and have the sign of their latent; NaN and 0 for a latent without a match.
    """
    z_hat = np.asarray(z_hat, dtype=float)
    correlation, matches = _matches(z, z_hat, match)
    estimates, scores = np.full(z.shape, np.nan), np.zeros(z.shape[1])
    for latent, estimate in matches.items():
        spearman = correlation[latent, estimate]
        estimates[:, latent] = _standardised(z_hat[:, estimate]) * np.sign(spearman)
        scores[latent] = abs(spearman)
    return estimates, scores


def _matches(z: np.ndarray, z_hat: np.ndarray, match: np.ndarray | None) -> tuple[np.ndarray, dict[int, int]]:
    """Spearman correlations (n_latents, n_estimated), and the estimate of each true latent that has one."""
    ranks, ranks_hat = (_standardised(rankdata(values, axis=0)) for values in (z, z_hat))
    correlation = np.nan_to_num(ranks.T @ ranks_hat / len(z))
    if match is not None:
        return correlation, _given(match)
    return correlation, dict(zip(*linear_sum_assignment(-np.abs(correlation)), strict=True))


def _given(match: np.ndarray) -> dict[int, int]:
    """The estimate of each true latent that has one, by `match` (n_latents,), -1 where there is none."""
    return {latent: int(estimate) for latent, estimate in enumerate(match) if estimate >= 0}


def _standardised(values: np.ndarray) -> np.ndarray:
    """`values` with mean 0 and standard deviation 1 along the first axis; a constant becomes 0."""
    centred = values - values.mean(axis=0)
    scale = centred.std(axis=0)
    return centred / np.where(scale > 0, scale, 1.0)


def _draw_latents(points: pd.DataFrame, names: list[str]) -> Figure:
    n_latents, domains = int(points["latent"].max()), np.unique(points["domain"])
    side, n_blocks = max(
        (
            min(
                (page.width() - 0.9) / (n * n_latents), (page.MAX_HEIGHT - 0.7) / math.ceil(len(names) / n) - 0.15, 1.1
            ),
            n,
        )
        for n in range(1, len(names) + 1)
    )  # as many methods side by side as make the panels largest
    height = math.ceil(len(names) / n_blocks) * (side + 0.15) + 0.7
    figure, grid = page.panels(len(names) * n_latents, n_blocks * n_latents, height)
    colours = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.95, len(domains))))
    bounds = BoundaryNorm(np.arange(len(domains) + 1) - 0.5, len(domains))
    options: dict[str, Any] = {
        "s": 1.5,
        "linewidths": 0,
        "alpha": 0.7,
        "cmap": colours,
        "norm": bounds,
        "rasterized": True,
    }
    box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8}
    groups = points.groupby(["label", "latent"])
    for place, axes in enumerate(grid):
        name, latent = names[place // n_latents], place % n_latents + 1
        panel = groups.get_group((name, latent))
        axes.scatter(panel["true"], panel["recovered"], c=np.searchsorted(domains, panel["domain"]), **options)
        text = number(panel["spearman"].iloc[0], 2) if panel["recovered"].notna().any() else "unmatched"
        axes.text(0.05, 0.94, text, transform=axes.transAxes, ha="left", va="top", fontsize=7, bbox=box)
        axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
        axes.set_xticks((-2, 0, 2), ("",) * 3)
        axes.set_yticks((-2, 0, 2), ("−2", "0", "2") if place % (n_blocks * n_latents) == 0 else ("",) * 3)
        if latent == 1:
            axes.set_title(page.wrapped(name, n_latents * (side + 0.1)), loc="left")
        if place + n_blocks * n_latents >= len(grid):
            axes.set_xticks((-2, 0, 2), ("−2", "0", "2"))
            axes.set_xlabel(f"{latent}")
    figure.supxlabel("True latent, by its number (standardised)", fontsize=8)
    figure.supylabel("Recovered latent (standardised)", fontsize=8)
    bar = page.colour_bar(figure, ScalarMappable(bounds, colours), grid, "Domain")
    step = math.ceil(len(domains) / 12)
    bar.set_ticks(range(0, len(domains), step), labels=[str(domain) for domain in domains[::step]])
    bar.minorticks_off()
    bar.ax.tick_params(length=0)
    return figure


@page.printed
def recovered_support(results: Results, kept: Kept, where: str, folder: str | Path) -> list[Path]:
    """recovered_support.*: how strongly each observed variable depends on each recovered latent, beside the true support.

    `kept` and `where` as for `recovered_latents`, with `support` (n_observed, n_latents) and `strength` (n_observed, n_estimated) of
    those labels that have a decoder. Estimates stand in the place of the latents that they are matched to, as for `recovered_latents`.
    Nothing where no label has a decoder, or where every observed variable depends on every latent.
    """
    known = [label for label in looks(results) if {"support", "strength"} <= set(kept.get(label, ()))]
    if not known or kept[known[0]]["support"].all():
        return []
    support = kept[known[0]]["support"]
    parts = [_edges("true", support, np.where(support, np.nan, 0.0))]
    parts += [_recovered_edges(label, kept[label]) for label in known]
    edges = pd.concat(parts, ignore_index=True)
    names = _names(results, support.shape)
    caption = (
        "The support of the mixing and how strongly each observed variable depends on the estimate matched to each latent, "
        "E |dx_k/dz_i| times the standard deviation of the estimate, with observed variables of unit variance, over the test "
        f"split of one data seed of one cell ({where}). Outlined: the true edges. Methods with a decoder or with loadings. No interval: this is a single trial."
    )
    if not kept[known[0]]["z"].shape[1]:
        caption += " No latent is known: estimates are matched by the support itself, which chance profits from too."
    return page.save(_draw_edges(edges, names), edges, caption, folder, "recovered_support")


def _recovered_edges(label: str, kept: Mapping[str, np.ndarray]) -> pd.DataFrame:
    z, z_hat = (np.asarray(kept[name], dtype=float) for name in ("z", "z_hat"))
    match = kept.get("match")
    matches = _given(match) if match is not None else _matches(z, z_hat, None)[1]
    strength = np.zeros(kept["support"].shape)
    for latent, estimate in matches.items():
        strength[:, latent] = kept["strength"][:, estimate]
    return _edges(label, kept["support"], strength)


def _edges(label: str, support: np.ndarray, strength: np.ndarray) -> pd.DataFrame:
    observed, latent = np.indices(support.shape)
    columns = {"observed": observed + 1, "latent": latent + 1, "true": support.astype(bool), "strength": strength}
    return pd.DataFrame({name: np.asarray(values).ravel() for name, values in columns.items()}).assign(label=label)


def _names(results: Results, shape: tuple[int, ...]) -> list[Sequence[str]]:
    """What the observed variables and the latents of the data are called, by numbers where their data set, or a plug-in's, has no names."""
    known = [entry.cls for entry in registered(results.trials)]
    found: list[Sequence[str]] = [[str(place + 1) for place in range(n)] for n in shape]
    for axis, name in enumerate(("observed", "latents")):
        own = getattr(known[0], name, ()) if len(known) == 1 else ()
        found[axis] = list(own) if len(own) == shape[axis] else found[axis]
    return found


def _draw_edges(edges: pd.DataFrame, names_of: Sequence[Sequence[str]]) -> Figure:
    names = list(edges["label"].unique())
    n_latents, n_observed = edges["latent"].max(), edges["observed"].max()
    n_columns = min(len(names), max(1, int((page.width() - 0.7) / max(0.75, MIN_CELL[0] * n_latents + 0.1))))
    n_rows = math.ceil(len(names) / n_columns)
    n_columns = math.ceil(len(names) / n_rows)
    height = min(max(MIN_CELL[1] * n_observed, 0.9), (page.MAX_HEIGHT - 0.6) / n_rows - 0.25)
    figure, grid = page.panels(len(names), n_columns, n_rows * (height + 0.25) + 0.6)
    norm = Normalize(0, edges["strength"].max())
    width = (page.width() - 0.9) / n_columns - 0.1
    has_room = width / n_latents >= MIN_CELL[0] and height / n_observed >= MIN_CELL[1]
    for place, (axes, name) in enumerate(zip(grid, names, strict=True)):
        own = edges[edges["label"] == name]
        strength = own.pivot(index="observed", columns="latent", values="strength")
        texts = strength.map(lambda value: number(value, 1) if value >= 0.05 else "")
        seaborn.heatmap(
            strength, ax=axes, norm=norm, cmap="Greys", linewidths=0.3, linecolor="0.9", cbar=False, xticklabels=False, yticklabels=False,
            annot=texts if has_room else None, fmt="", annot_kws={"fontsize": 6},
        )  # fmt: skip
        axes.set(xlabel="", ylabel="")
        axes.tick_params(length=0)
        for row, column in own.loc[own["true"], ["observed", "latent"]].to_numpy() - 0.9:
            axes.add_patch(Rectangle((column, row), 0.8, 0.8, fill=False, edgecolor=TRUE_EDGE, linewidth=1))
        axes.set_title(page.wrapped(name, width + 0.1), linespacing=1.1)
        axes.set_xticks(*_ticks(names_of[1]) if place + n_columns >= len(names) else ((), ()))
        axes.set_yticks(*_ticks(names_of[0]) if place % n_columns == 0 else ((), ()))
    figure.supxlabel("Latent", fontsize=8)
    figure.supylabel("Observed variable", fontsize=8)
    page.colour_bar(figure, ScalarMappable(norm, "Greys"), grid, "Strength of the edge")
    return figure


def _ticks(names: Sequence[str]) -> tuple[Sequence[float], Sequence[str]]:
    """Places and names of at most about 10 rows or columns, of names that are no longer than a number."""
    least = math.ceil(len(names) / 10)
    step = next(
        (step for step in range(least, 2 * least) if len(names) % step == 0), least
    )  # whole groups, if it can be
    shown = range(0, len(names), step)
    return [each + 0.5 for each in shown], [names[each] for each in shown]
