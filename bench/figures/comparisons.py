"""Methods against each other over all cells: ranks, profiles, what was promised of each latent, and cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench import recovery, statistics
from bench.figures import page
from bench.leaderboard import HEADLINE, is_ok, labels, seeds_text, summary, value_text

N_THRESHOLDS = 51


@page.printed
def critical_difference(
    trials: pd.DataFrame,
    method_fields: Sequence[str],
    dataset_fields: Sequence[str],
    folder: str | Path,
    score: str = HEADLINE,
) -> list[Path]:
    """critical_difference.*: average ranks of the methods over data seeds; a bar joins those that do not differ (Demsar 2006).

    Nothing where fewer than three methods share two data seeds.
    """
    scores = _by_seed(trials, method_fields, dataset_fields, score)
    if len(scores) < 3 or scores.shape[1] < 2:
        return []
    found = statistics.average_ranks(scores.to_numpy(float))
    rows = pd.DataFrame({"label": scores.index, "rank": found.ranks}).sort_values("rank", ignore_index=True)
    rows = rows.assign(critical_difference=found.critical_difference, n_seeds=found.n_blocks, p_friedman=found.p)
    figure = _draw_ranks(rows, page.styles(trials, method_fields))
    caption = (
        f"Average ranks by {page.word(score)} over {seeds_text(rows)} (1 is best; a seed's score is the mean over the cells in which "
        f"every method has one). Bars join methods whose ranks differ by less than the critical difference of Nemenyi's test "
        f"at 5 %, {found.critical_difference:.2f}; Friedman's test: p = {found.p:.2g}. Floors and ceiling take no part. "
        f"{page.counts(trials)}"
    )
    return page.save(figure, rows, caption, folder, "critical_difference")


def _by_seed(
    trials: pd.DataFrame, method_fields: Sequence[str], dataset_fields: Sequence[str], score: str
) -> pd.DataFrame:
    """Mean score of each method (rows) and data seed (columns), over the cells in which all methods have a score."""
    own = trials.assign(label=labels(trials, method_fields))
    own = own[(own["role"] == "method") & is_ok(own)]
    own = own.assign(cell=_cell(own, dataset_fields))
    wide = own.pivot_table(index="label", columns=["seed", "cell"], values=score, aggfunc="mean")
    return wide.dropna(axis=1).T.groupby(level="seed").mean().T


def _cell(trials: pd.DataFrame, dataset_fields: Sequence[str]) -> pd.Series:
    fields = [field for field in dict.fromkeys(("dataset", *dataset_fields)) if field in trials]
    return pd.Series([" ".join(map(value_text, row)) for row in trials[fields].to_numpy()], index=trials.index)


def _draw_ranks(rows: pd.DataFrame, looks: Mapping[str, page.Style]) -> Figure:
    n_methods, difference = len(rows), rows["critical_difference"].iloc[0]
    half = math.ceil(n_methods / 2)
    bars = _bars(rows["rank"].to_numpy(), difference)
    depth = 0.14 * len(bars) + 0.1
    height = 0.55 + depth + 0.16 * half
    figure = Figure(figsize=(page.WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, page.WIDTH), ylim=(-height + 0.42, 0.42))  # in inches; the ranks run along 0
    margin = min(1.9, 0.35 + page.CHARACTER * 1.15 * max(map(len, rows["label"])))

    def at(rank: float) -> float:
        return margin + (page.WIDTH - 2 * margin) * (rank - 1) / (n_methods - 1)

    axes.plot([at(1), at(n_methods)], [0, 0], color="black", linewidth=0.8)
    for rank in range(1, n_methods + 1):
        axes.plot([at(rank)] * 2, [0, 0.05], color="black", linewidth=0.6)
        axes.text(at(rank), 0.07, str(rank), ha="center", va="bottom", fontsize=7)
    for place, (label, rank) in enumerate(zip(rows["label"], rows["rank"], strict=True)):
        is_left = place < half
        level = -depth - 0.16 * (place if is_left else n_methods - 1 - place)
        side = margin - 0.12 if is_left else page.WIDTH - margin + 0.12
        axes.plot([at(rank), at(rank), side], [0, level, level], color="0.45", linewidth=0.6)
        axes.plot(
            [at(rank)],
            [0],
            linestyle="",
            clip_on=False,
            zorder=3,
            **page.marker(looks[label], 3.8, looks[label].colour),
        )
        text = f"{label}  {rank:.1f}" if is_left else f"{rank:.1f}  {label}"
        axes.text(
            side + (-0.05 if is_left else 0.05), level, text, ha="right" if is_left else "left", va="center", fontsize=7
        )
    for level, (first, last) in enumerate(bars):
        y = -0.09 - 0.12 * level
        axes.plot(
            [at(first) - 0.04, at(last) + 0.04], [y, y], color="black", linewidth=2.2, solid_capstyle="butt", zorder=2
        )
    shown = min(difference, n_methods - 1)
    axes.plot([at(1), at(1 + shown)], [0.26, 0.26], color="black", linewidth=0.8, marker="|", markersize=4)
    axes.text(at(1 + shown) + 0.06, 0.26, f"critical difference {difference:.2f}", ha="left", va="center", fontsize=7)
    return figure


def _bars(ranks: np.ndarray, difference: float) -> list[tuple[float, float]]:
    """The longest runs of sorted ranks that span less than the difference, at least two methods each."""
    ends = [
        (start, int(np.searchsorted(ranks, rank + difference, side="left")) - 1) for start, rank in enumerate(ranks)
    ]
    longest = [(a, b) for i, (a, b) in enumerate(ends) if b > a and (i == 0 or b > ends[i - 1][1])]
    return [(float(ranks[a]), float(ranks[b])) for a, b in longest]


@page.printed
def performance_profiles(
    trials: pd.DataFrame, method_fields: Sequence[str], folder: str | Path, score: str = HEADLINE
) -> list[Path]:
    """performance_profiles.*: the fraction of trials that score above each threshold, a line per label (Agarwal et al. 2021).

    Failed trials are above no threshold; those to which a method does not apply do not count. Nothing where no trial has a score.
    """
    own = trials.assign(label=labels(trials, method_fields), score=trials[score].where(is_ok(trials)))
    own = own[own["status"] != "not-applicable"]
    if own["score"].isna().all():
        return []
    low = math.floor(10 * float(own["score"].min())) / 10
    thresholds = np.linspace(low, max(1.0, float(own["score"].max())), N_THRESHOLDS)
    looks = {label: look for label, look in page.styles(trials, method_fields).items() if label in set(own["label"])}
    seeds = np.sort(own["seed"].unique())
    shares = np.full((len(looks), len(seeds), N_THRESHOLDS), np.nan)
    for place, label in enumerate(looks):
        for seed, group in own[own["label"] == label].groupby("seed"):
            scores = group["score"].to_numpy(float)[None, :]
            shares[place, np.searchsorted(seeds, seed)] = statistics.performance_profile(scores, thresholds)
    found = statistics.mean_interval(shares)
    rows = pd.DataFrame(
        {
            "label": np.repeat(list(looks), N_THRESHOLDS),
            "threshold": np.tile(thresholds, len(looks)),
            "share": found.mean.ravel(),
            "share_low": np.clip(found.low, 0, 1).ravel(),
            "share_high": np.clip(found.high, 0, 1).ravel(),
            "n_seeds": len(seeds),
        }
    ).merge(own[["label", "role"]].drop_duplicates(), on="label")
    figure = _draw_profiles(rows, looks, score)
    caption = (
        f"Performance profiles: the fraction of trials (cells by data seeds) with {page.word(score)} above a threshold; higher is "
        f"better, and a failed trial is above none. {page.interval(rows, 'Bands of methods')}{seeds_text(rows)}. {page.counts(trials)}"
    )
    return page.save(figure, rows, caption, folder, "performance_profiles")


def _draw_profiles(rows: pd.DataFrame, looks: Mapping[str, page.Style], score: str) -> Figure:
    handles = page.handles(looks, rows)
    n_columns = page.legend_columns(list(looks))
    height = 2.2 + 0.15 * math.ceil(len(looks) / n_columns)
    figure = Figure(figsize=(page.WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for place, (label, look) in enumerate(looks.items()):
        own = rows[rows["label"] == label]
        is_method = own["role"].iloc[0] == "method"
        if is_method:
            axes.fill_between(
                own["threshold"], own["share_low"], own["share_high"], color=look.colour, alpha=0.12, linewidth=0
            )
        marked = slice(place % 8, None, 8)  # not all at the same thresholds
        axes.plot(
            *(own["threshold"], own["share"]),
            **{"color": look.colour, "linestyle": look.line, "linewidth": 1.2 if is_method else 0.7},
            **{"markevery": marked, **page.marker(look, 3.4 if is_method else 2, look.colour)},
        )
    axes.set(xlabel=f"Threshold on {page.word(score)}", ylabel="Fraction of trials above", ylim=(-0.02, 1.02))
    axes.margins(x=0.01)
    figure.legend(handles=handles, loc="outside lower center", ncols=n_columns, handlelength=3)
    return figure


@page.printed
def recovery_by_promise(trials: pd.DataFrame, method_fields: Sequence[str], folder: str | Path) -> list[Path]:
    """promise_recovery.*: the score of single latents by what theory promises of them, a point per label and promise.

    Nothing where the oracle's verdicts or the scores of single latents are not there.
    """
    rows = recovery.table(trials, method_fields)
    if rows.empty:
        return []
    present = [promise for promise in recovery.PROMISES if promise in set(rows["promise"])]
    figure = _draw_promises(rows, page.styles(trials, method_fields), present)
    meanings = "; ".join(f'"{promise}" {recovery.PROMISES[promise]}' for promise in present)
    caption = (
        f"MCC of single latents (Spearman, test split), by what theory promises of each latent. {meanings}. Sufficient conditions, not "
        f"necessary ones. Means over {seeds_text(rows)} of the seed's mean over latents and cells; n: latents in all instances "
        f"of one method. {page.interval(rows, 'Bars')}{page.counts(trials)}"
    )
    return page.save(figure, rows, caption, folder, "promise_recovery")


def _draw_promises(rows: pd.DataFrame, looks: Mapping[str, page.Style], present: list[str]) -> Figure:
    n_columns = page.legend_columns(list(looks))
    figure = Figure(figsize=(page.WIDTH, 2.2 + 0.15 * math.ceil(len(looks) / n_columns)), layout="constrained")
    axes = figure.subplots()
    step = 0.8 / max(1, len(looks) - 1)
    for place, (label, look) in enumerate(looks.items()):
        own = rows[rows["label"] == label].set_index("promise").reindex(present)
        at = np.arange(len(present)) - 0.4 + step * place if len(looks) > 1 else np.arange(len(present))
        ends = [own["score"] - own["score_low"], own["score_high"] - own["score"]]
        axes.errorbar(at, own["score"], yerr=ends, fmt="none", ecolor=look.colour, elinewidth=0.9)
        size = 3.4 if (own["role"].dropna() == "method").all() else 2.4
        axes.plot(at, own["score"], linestyle="", **page.marker(look, size, look.colour))
    for edge in range(len(present) - 1):
        axes.axvline(edge + 0.5, color="0.85", linewidth=0.6)
    n_latents = rows.groupby("promise")["n_latents"].max()
    names = [f"{promise.replace(', ', ',' + chr(10))}\n(n = {n_latents[promise]})" for promise in present]
    axes.set_xticks(range(len(present)), names, linespacing=1.1)
    axes.set(xlim=(-0.5, len(present) - 0.5), ylim=(None, min(1.01, axes.get_ylim()[1])))
    axes.set(xlabel="Promised by", ylabel="MCC of single latents, test")
    axes.tick_params(axis="x", length=0)
    roles = rows[["label", "role"]].drop_duplicates()
    handles = page.handles({label: look for label, look in looks.items() if label in set(roles["label"])}, roles)
    figure.legend(handles=handles, loc="outside lower center", ncols=n_columns, handlelength=3)
    return figure


@page.printed
def cost_and_score(
    trials: pd.DataFrame, method_fields: Sequence[str], folder: str | Path, score: str = HEADLINE
) -> list[Path]:
    """cost_score.*: the mean score of each label against its seconds of training per trial, and the methods no other one beats in both."""
    own = trials.assign(label=labels(trials, method_fields))
    rows = summary(own, ["label", "role"], [score])
    rows["train_s"] = rows["label"].map(own[is_ok(own)].groupby("label")["train_s"].mean())
    rows = rows[rows[score].notna() & (rows["train_s"] > 0)].reset_index(drop=True)
    if rows.empty:
        return []
    rows["on_front"] = (rows["role"] == "method") & ~_is_beaten(rows[rows["role"] == "method"], score).reindex(
        rows.index, fill_value=True
    )
    looks = {label: look for label, look in page.styles(trials, method_fields).items() if label in set(rows["label"])}
    figure = _draw_costs(rows, looks, score)
    caption = (
        f"{page.word(score)}, against seconds of training per trial, those of its pack divided by the trials in it. Points: means over "
        f"{seeds_text(rows)} and all cells on the test split. {page.interval(rows, 'Bars')}Line: methods that no other method beats in "
        f"both. {page.counts(trials)}"
    )
    return page.save(figure, rows, caption, folder, "cost_score")


def _is_beaten(rows: pd.DataFrame, score: str) -> pd.Series:
    cost, value = rows["train_s"].to_numpy(), rows[score].to_numpy()
    better = (cost[None] <= cost[:, None]) & (value[None] >= value[:, None])
    strictly = (cost[None] < cost[:, None]) | (value[None] > value[:, None])
    return pd.Series((better & strictly).any(axis=1), index=rows.index)


def _draw_costs(rows: pd.DataFrame, looks: Mapping[str, page.Style], score: str) -> Figure:
    figure = Figure(figsize=(page.WIDTH, max(2.1, 0.4 + 0.145 * len(looks))), layout="constrained")
    axes = figure.subplots()
    front = rows[rows["on_front"]].sort_values("train_s")
    axes.step(front["train_s"], front[score], where="post", color="0.6", linewidth=0.8, zorder=1)
    for label, look in looks.items():
        own = rows[rows["label"] == label].iloc[0]
        ends = [[own[score] - own[f"{score}_low"]], [own[f"{score}_high"] - own[score]]]
        axes.errorbar([own["train_s"]], [own[score]], yerr=ends, fmt="none", ecolor=look.colour, elinewidth=0.9)
        size = 4.5 if own["role"] == "method" else 3
        axes.plot([own["train_s"]], [own[score]], linestyle="", **page.marker(look, size, look.colour))
    axes.set_xscale("log")
    low, high = rows["train_s"].min(), rows["train_s"].max()
    if high < 20 * low:  # too few powers of ten to read the axis by
        ticks = np.unique([float(f"{tick:.1g}") for tick in np.geomspace(low, high, 4)])
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="Seconds of training per trial", ylabel=page.word(score))
    roles = rows[["label", "role"]]
    handles = page.handles(looks, roles)
    for handle in handles:
        handle.set_linestyle("")
    figure.legend(handles=handles, loc="outside right upper")
    return figure
