"""What a report begins with: which method is best, and whether both assumptions beat the better one, for a reader who knows neither."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.report import synergy
from bench.report.leaderboard import MARK, MARK_MEANING
from bench.report.results import CONTENT, HEADLINE, SUPPORT, Results
from bench.report.texts import number, with_interval
from bench.scores.statistics import LEVEL

FOUND = {
    HEADLINE: "recovered the true latents",
    CONTENT: "kept the content",
    SUPPORT: "found the support of the mixing",
}


def sentences(results: Results, board: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """One paragraph on the best method and one on both assumptions, where there is something to say of them.

    `board` is the leaderboard of all trials, `pairs` the `table` of `bench.report.pairs`. Every number is of these or of the effects of synergy.
    """
    if results.lacks_truth:
        return ["No method can be called the best, since the true latents of these data are not known."]
    methods = board[(board["role"] == "method") & board[results.headline.name].notna()]
    best = [_best(results, board, pairs, methods)] if len(methods) else []
    return [*best, *filter(None, [synergy.in_short(results)])]


def _best(results: Results, board: pd.DataFrame, pairs: pd.DataFrame, methods: pd.DataFrame) -> str:
    """The best method, how far it is above the best floor, and how far above the next."""
    score = results.headline.name
    best, floors = methods.iloc[0], board[(board["role"] == "floor") & board[score].notna()]
    value = with_interval(best[score], best[f"{score}_low"], best[f"{score}_high"])
    named, compared = [best], ""
    has = f"{results.headline_name} {value}, where 1 is perfect"
    ahead = _ahead(pairs, best, methods.iloc[1]) if len(methods) > 1 else None
    if ahead is not None and ahead[0] > 0:
        text = f"{best['label']} {FOUND[score]} best: {has}"
    elif ahead is not None:
        text = f"{best['label']} has the highest mean, {has}"
    else:
        text = f"{best['label']}, the only method with a score, has {has}"
    if len(floors):
        floor = floors.loc[floors[score].idxmax()]
        difference = best[score] - floor[score]
        side = "above" if difference > 0 else "below"
        text += f"; that is {number(abs(difference))} {side} the best floor, {floor['label']}"
        named.append(floor)
    if ahead is not None:
        compared = _lead(results, pairs, best, methods.iloc[1], ahead)
        named.append(methods.iloc[1])
    mark = f" {MARK} A {MARK_MEANING}." if not all(row["comparable"] for row in named) else ""
    ends = "the spread over re-splits" if results.resplit else "95 % intervals over data seeds"
    return f"{text}.{compared}{mark}" + (f" In brackets: {ends}." if "[" in value else "")


def _pair(pairs: pd.DataFrame, best: pd.Series, following: pd.Series) -> dict[str, Any]:
    both = {best["label"], following["label"]}
    return next(row for row in pairs.to_dict("records") if {row["better"], row["worse"]} == both)


def _ahead(pairs: pd.DataFrame, best: pd.Series, following: pd.Series) -> np.ndarray:
    """How far the best method is above the next on the data that both have, with the ends of its interval; NaN without any."""
    pair = _pair(pairs, best, following)
    ends = np.array([pair["difference"], pair["difference_low"], pair["difference_high"]])
    return ends if pair["better"] == best["label"] else -ends[[0, 2, 1]]


def _lead(results: Results, pairs: pd.DataFrame, best: pd.Series, following: pd.Series, ahead: np.ndarray) -> str:
    """How far the best method is above the next, and whether that is more than chance, as in comparisons.md."""
    p, other = _pair(pairs, best, following)["p_holm"], following["label"]
    if np.isnan(ahead[0]):
        return f" With the next, {other}, it shares no data set, so that the two cannot be compared."
    if results.resplit:
        sure = "; re-splits of one data set do not say whether it would be on new data"
    elif np.isnan(p):
        sure = "; so few data seeds do not say whether that is chance"
    else:
        corrected = f", corrected for {len(pairs)} pairs of methods" if len(pairs) > 1 else ""
        sure = f", which is {'not ' * bool(p >= 1 - LEVEL)}significant (5 %{corrected})"
        sure += f", though {best['n_seeds']} data seeds are too few to rest on" if best["n_seeds"] < synergy.FEW else ""
    if ahead[0] > 0:
        return f" It leads the next method, {other}, by {with_interval(*ahead)}{sure}."
    behind = with_interval(*-ahead[[0, 2, 1]])
    return f" On the data sets that both have, the next method, {other}, is not behind but ahead by {behind}{sure}."
