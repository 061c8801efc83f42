"""What one data seed of one cell comes to: true latents against recovered ones, and the true support of the mixing against the recovered one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from bench.figures import page
from bench.leaderboard import labels, number

N_POINTS = 1000  # of a scatter plot
TRUE_EDGE = "#D55E00"


@page.printed
def recovered_latents(
    representations: Mapping[str, Mapping[str, np.ndarray]],
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    folder: str | Path,
    where: str = "",
) -> list[Path]:
    """recovered_latents.*: each true latent against the estimate matched to it, for one data seed of one cell.

    `representations` has for each label `z` (n_samples, n_latents), `z_hat` (n_samples, n_estimated) and `domains`
    (n_samples,) from 0; `where`, if given, says in words of which seed of which cell. Methods and ceiling are drawn.
    Latents are matched by |Spearman| over all points given; the first 1000 are drawn.
    """
    roles = dict(zip(labels(trials, method_fields), trials["role"], strict=True))
    names = [
        label for label in page.styles(trials, method_fields) if label in representations and roles[label] != "floor"
    ]
    if not names:
        return []
    points = pd.concat([_matched_points(label, representations[label]) for label in names], ignore_index=True)
    figure = _draw_latents(points, names)
    missing = [label for label, role in roles.items() if label not in representations and role != "floor"]
    of_which = f" ({where})" if where else ""
    n_points = points.groupby(["label", "latent"]).size().max()
    caption = (
        "True latents against the estimates matched to them, one row per method, standardised and with matching signs, "
        f"for one data seed of one cell{of_which}: the first {n_points} points of the test split, coloured by domain. "
        "In the corner: |Spearman| over all points kept of this trial. Axes are cut at 3.2 standard deviations; no "
        "band: this is a single trial." + (f" Without a representation: {', '.join(missing)}." if missing else "")
    )
    return page.save(figure, points, caption, folder, "recovered_latents")


def _matched_points(label: str, kept: Mapping[str, np.ndarray]) -> pd.DataFrame:
    z = _standardised(np.asarray(kept["z"], dtype=float))
    parts = [
        pd.DataFrame(
            {
                "label": label,
                "latent": latent + 1,
                "spearman": spearman,
                "true": z[:, latent],
                "recovered": estimate,
                "domain": np.asarray(kept["domains"]).astype(int) + 1,
            }
        )
        for latent, (estimate, spearman) in enumerate(_matched(z, kept["z_hat"]))
    ]
    return pd.concat([part.head(N_POINTS) for part in parts])


def _matched(z: np.ndarray, z_hat: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """For each true latent its estimate, standardised and sign-aligned, and |Spearman|; NaN and 0 without a match."""
    z_hat = np.asarray(z_hat, dtype=float)
    correlation, matches = _matches(z, z_hat)
    result = []
    for latent in range(z.shape[1]):
        if latent in matches:
            spearman = correlation[latent, matches[latent]]
            result.append((_standardised(z_hat[:, matches[latent]]) * np.sign(spearman), abs(float(spearman))))
        else:
            result.append((np.full(len(z), np.nan), 0.0))
    return result


def _matches(z: np.ndarray, z_hat: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """Spearman correlations (n_latents, n_estimated), and the estimate of each true latent that has one."""
    correlation = _correlation(rankdata(z, axis=0), rankdata(z_hat, axis=0))
    return correlation, dict(zip(*linear_sum_assignment(-np.abs(correlation)), strict=True))


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _standardised(a).T @ _standardised(b) / len(a)


def _standardised(values: np.ndarray) -> np.ndarray:
    """`values` with mean 0 and standard deviation 1 along the first axis; a constant becomes 0."""
    centred = values - values.mean(axis=0)
    scale = centred.std(axis=0)
    return centred / np.where(scale > 0, scale, 1.0)


def _draw_latents(points: pd.DataFrame, names: list[str]) -> Figure:
    n_latents, domains = points["latent"].max(), np.unique(points["domain"])
    side = min((page.WIDTH - 0.9) / n_latents, (page.MAX_HEIGHT - 0.75) / len(names), 1.1)
    figure = Figure(figsize=(page.WIDTH, side * len(names) + 0.75), layout="constrained")
    grid = figure.subplots(len(names), n_latents, squeeze=False)
    colours = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.95, len(domains))))
    bounds = BoundaryNorm(np.arange(len(domains) + 1) - 0.5, len(domains))
    for row, name in zip(grid, names, strict=True):
        for axes, (latent, panel) in zip(row, points[points["label"] == name].groupby("latent"), strict=True):
            place = np.searchsorted(domains, panel["domain"])
            options = {"s": 1.5, "linewidths": 0, "alpha": 0.7, "cmap": colours, "norm": bounds, "rasterized": True}
            axes.scatter(panel["true"], panel["recovered"], c=place, **options)
            box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8}
            text = number(panel["spearman"].iloc[0], 2) if panel["recovered"].notna().any() else "unmatched"
            axes.text(0.05, 0.94, text, transform=axes.transAxes, ha="left", va="top", fontsize=7, bbox=box)
            axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
            axes.set_xticks((-2, 0, 2), ("−2", "0", "2") if axes in grid[-1] else ())
            axes.set_yticks((-2, 0, 2), ("−2", "0", "2") if latent == 1 else ())
            if axes in grid[0]:
                axes.set_title(f"Latent {latent}")
        row[0].set_ylabel(page.title(name, side), linespacing=1.1)
    figure.supxlabel("True latent (standardised)", fontsize=8)
    figure.supylabel("Recovered latent (standardised)", fontsize=8)
    bar = figure.colorbar(ScalarMappable(bounds, colours), ax=grid, aspect=40, fraction=0.03, pad=0.015)
    step = math.ceil(len(domains) / 12)
    bar.set_ticks(range(0, len(domains), step), labels=[str(domain) for domain in domains[::step]])
    bar.minorticks_off()
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    bar.set_label("Domain")
    return figure


@page.printed
def recovered_support(
    representations: Mapping[str, Mapping[str, np.ndarray]],
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    folder: str | Path,
    where: str = "",
) -> list[Path]:
    """recovered_support.*: how strongly each observed variable depends on each recovered latent, beside the true support.

    `representations` as for `recovered_latents`, with `support` (n_observed, n_latents) and `strength` (n_observed, n_estimated) of those
    labels that have a decoder. Estimates stand in the place of the latents that they are matched to, by |Spearman| over all points given.
    """
    known = [label for label in page.styles(trials, method_fields) if "strength" in representations.get(label, {})]
    if not known or representations[known[0]]["support"].all():
        return []
    parts = [_true_edges(representations[known[0]]["support"])]
    parts += [_recovered_edges(label, representations[label]) for label in known]
    edges = pd.concat(parts, ignore_index=True)
    of_which = f" ({where})" if where else ""
    caption = (
        "The support of the mixing and how strongly each observed variable depends on the estimate matched to each latent, "
        "E |dx_k/dz_i| times the standard deviation of the estimate, with observed variables of unit variance, over the test "
        f"split of one data seed of one cell{of_which}. Outlined: the true edges. Methods with a decoder. No band: this is a single trial."
    )
    return page.save(_draw_edges(edges), edges, caption, folder, "recovered_support")


def _true_edges(support: np.ndarray) -> pd.DataFrame:
    return _edges("true", support, np.where(support, np.nan, 0.0))


def _recovered_edges(label: str, kept: Mapping[str, np.ndarray]) -> pd.DataFrame:
    _, matches = _matches(np.asarray(kept["z"], dtype=float), np.asarray(kept["z_hat"], dtype=float))
    strength = np.zeros(kept["support"].shape)
    for latent, estimate in matches.items():
        strength[:, latent] = kept["strength"][:, estimate]
    return _edges(label, kept["support"], strength)


def _edges(label: str, support: np.ndarray, strength: np.ndarray) -> pd.DataFrame:
    observed, latent = np.indices(support.shape)
    columns = {"observed": observed + 1, "latent": latent + 1, "true": support.astype(bool), "strength": strength}
    return pd.DataFrame({name: np.asarray(values).ravel() for name, values in columns.items()}).assign(label=label)


def _draw_edges(edges: pd.DataFrame) -> Figure:
    names = list(edges["label"].unique())
    n_latents, n_observed = edges["latent"].max(), edges["observed"].max()
    n_columns = min(len(names), max(1, int((page.WIDTH - 0.7) / max(0.75, 0.09 * n_latents))))
    n_rows = math.ceil(len(names) / n_columns)
    n_columns = math.ceil(len(names) / n_rows)
    height = min(max(0.09 * n_observed, 0.9), (page.MAX_HEIGHT - 0.6) / n_rows - 0.25)
    figure = Figure(figsize=(page.WIDTH, n_rows * (height + 0.25) + 0.6), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    colours, norm = matplotlib.colormaps["Greys"], Normalize(0, edges["strength"].max())
    for place, axes in enumerate(grid.flat):
        if place >= len(names):
            axes.remove()
            continue
        own = edges[edges["label"] == names[place]]
        strength = own.pivot(index="observed", columns="latent", values="strength").to_numpy(float)
        axes.pcolormesh(np.ma.masked_invalid(strength), cmap=colours, norm=norm, edgecolors="0.9", linewidth=0.3)
        for _, edge in own[own["true"]].iterrows():
            corner = edge["latent"] - 0.9, edge["observed"] - 0.9
            axes.add_patch(Rectangle(corner, 0.8, 0.8, fill=False, edgecolor=TRUE_EDGE, linewidth=1))
        axes.invert_yaxis()
        axes.set_title(page.title(names[place], (page.WIDTH - 0.7) / n_columns), linespacing=1.1)
        is_lowest = place + n_columns >= len(names)
        axes.set_xticks(*_ticks(n_latents) if is_lowest else ((), ()))
        axes.set_yticks(*_ticks(n_observed) if place % n_columns == 0 else ((), ()))
        axes.tick_params(length=0)
    figure.supxlabel("Latent", fontsize=8)
    figure.supylabel("Observed variable", fontsize=8)
    used = list(grid.flat[: len(names)])
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=used, aspect=30, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("Strength of the edge")
    return figure


def _ticks(n: int) -> tuple[list[float], list[str]]:
    """Places and numbers of at most about 10 of `n` rows or columns."""
    shown = range(1, n + 1, math.ceil(n / 10))
    return [each - 0.5 for each in shown], [str(each) for each in shown]
