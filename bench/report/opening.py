"""What a report begins with: which method is best, and whether both assumptions beat the better one, for a reader who knows neither."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.report import synergy
from bench.report.leaderboard import MARK, MARK_MEANING
from bench.report.results import CONTENT, HEADLINE, SUPPORT, Results, is_resplit
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
    if len(methods) > 1:
        text = f"{best['label']} {FOUND[score]} best: {has}"
    else:
        text = f"{best['label']}, the only method with a score, has {has}"
    if len(floors):
        floor = floors.loc[floors[score].idxmax()]
        difference = best[score] - floor[score]
        side = "above" if difference > 0 else "below"
        text += f"; that is {number(abs(difference))} {side} the best floor, {floor['label']}"
        named.append(floor)
    if len(methods) > 1:
        compared = _lead(results, pairs, best, methods.iloc[1])
        named.append(methods.iloc[1])
    mark = f" {MARK} A {MARK_MEANING}." if not all(row["comparable"] for row in named) else ""
    ends = "the spread over re-splits" if is_resplit(results.trials) else "95 % intervals over data seeds"
    return f"{text}.{compared}{mark}" + (f" In brackets: {ends}." if "[" in value else "")


def _lead(results: Results, pairs: pd.DataFrame, best: pd.Series, following: pd.Series) -> str:
    """How far the best method is above the next, and whether that is more than chance, as in comparisons.md."""
    both = {best["label"], following["label"]}
    pair = next(row for row in pairs.to_dict("records") if {row["better"], row["worse"]} == both)
    ends = np.array([pair["difference"], pair["difference_low"], pair["difference_high"]])
    ahead = ends if pair["better"] == best["label"] else -ends[[0, 2, 1]]
    if is_resplit(results.trials):
        sure = "; re-splits of one data set do not say whether it would be on new data"
    elif np.isnan(pair["p"]):
        sure = "; so few data seeds do not say whether that is chance"
    elif pair["p_holm"] >= 1 - LEVEL:
        sure = ", which is not significant (5 %)"
    else:
        sure = ", which is significant (5 %)"
    return f" It leads the next method, {following['label']}, by {with_interval(*ahead)}{sure}."
