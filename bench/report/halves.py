"""How far a method agrees with itself: the latents of two models that were trained on disjoint halves of one data set, of the same test points.

It needs no truth, and proves nothing: a method can agree with itself and be wrong. So it stands beside what is known of the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bench.run.store import Store, with_arrays
from bench.scores.training import HALVES, HALVES_CHANCE, agreement
from bench.statuses import OK

N_SHUFFLES = 20  # of the points of one half, for the agreement by chance


def with_agreement(
    trials: pd.DataFrame, datasets: Sequence[str], fields: Sequence[str], stores: Mapping[str, Store]
) -> pd.DataFrame:
    """The same trials with the agreement of halves and its chance in their columns, of those on `datasets`, whose data seeds are halves.

    Data seeds 2k and 2k + 1 of one question (data set, method, `fields` of both, root seed) are a pair and share one number; a trial
    without its other half, or whose latents are not kept, has none.
    """
    wanted = trials[trials["dataset"].isin(datasets) & (trials["status"] == OK)]
    wanted = wanted[wanted["run"].isin(with_arrays(stores))]
    if wanted.empty:
        return trials
    found = trials.assign(**{score.name: trials.get(score.name, np.nan) for score in (HALVES, HALVES_CHANCE)})
    question = ["dataset", "method", "root_seed", *(field for field in fields if field in trials)]
    number = wanted["data_seed"].str.rsplit("/").str[-1].astype(int)
    for _, pair in wanted.groupby([*question, (number // 2).rename("pair")], dropna=False):
        if len(pair) != 2 or number[pair.index].nunique() != 2:
            continue
        kept_latents = [stores[row.run].latents(row) for _, row in pair.iterrows()]
        if all(kept_latents) and len({len(each["z_hat"]) for each in kept_latents}) == 1:
            one, other = (each["z_hat"] for each in kept_latents)
            found.loc[pair.index, HALVES.name] = agreement([one, other])
            rng = np.random.default_rng(0)
            shuffled = [agreement([one, rng.permutation(other)]) for _ in range(N_SHUFFLES)]
            found.loc[pair.index, HALVES_CHANCE.name] = float(np.mean(shuffled))
    return found
