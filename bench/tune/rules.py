"""Rules that choose one configuration of a method's hyper-parameters.

The validation objective is no such rule: its terms weigh differently in every configuration, and without its weights it always
prefers no penalty. A rule takes the table of configurations and returns the position of its choice, or None where it has none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

TOLERANCE = 0.1  # nats per sample: what sparsity may cost in held-out fit


def consistency(table: pd.DataFrame) -> int | None:
    """The configuration whose models, started from different seeds on the same data, agree most."""
    return _highest(table.consistency)


def fit_then_sparsest(table: pd.DataFrame, tolerance: float = TOLERANCE) -> int | None:
    """The configuration of smallest L_s, among those whose held-out fit is within `tolerance` of the best."""
    close = table.fit <= table.fit.min() + tolerance
    return _highest(-table.sparsity.where(close))


def fit_then_consistent(table: pd.DataFrame, tolerance: float = TOLERANCE) -> int | None:
    """The configuration of highest consistency, among those whose held-out fit is within `tolerance` of the best."""
    close = table.fit <= table.fit.min() + tolerance
    return _highest(table.consistency.where(close))


def oracle(table: pd.DataFrame) -> int | None:
    """The configuration that recovers the true latents best. It sees the truth, and is here to be compared with."""
    return _highest(table.mcc_spearman)


def _highest(values: pd.Series) -> int | None:
    """The first of the highest; None if there is none."""
    values = values.astype(float).to_numpy()
    return None if np.isnan(values).all() else int(np.nanargmax(values))


RULES: dict[str, Callable[[pd.DataFrame], int | None]] = {
    "consistency": consistency,
    "fit-then-sparsest": fit_then_sparsest,
    "fit-then-consistent": fit_then_consistent,
    "oracle": oracle,
}

DEFINITIONS = {
    "consistency": "MCC (Spearman, as mcc_spearman) between the representations of the validation points by models that differ in the "
    "seed of their initialisation and noise alone, mean over data sets; a model that was lost counts 0. Needs no ground truth.",
    "fit": "The method's objective on validation with its penalties at 0 and its other weights at their neutral values, nats per "
    "sample where it is a likelihood, mean over models; empty if a model was lost.",
    "sparsity": "L_s = sum_{k,i} E |dx_k/dz_i| * std(z_i) of the decoder at the encoded validation points, mean over models.",
    "mcc_spearman": "On test, matched on validation, mean over models; a model that was lost counts 0. Sees the truth: `oracle` alone "
    "chooses by it.",
    "rules": "consistency: the highest consistency. fit-then-sparsest: the smallest sparsity among the configurations whose fit is within "
    f"{TOLERANCE} of the best. fit-then-consistent: the highest consistency among the same. oracle: the highest mcc_spearman. All choose among the configurations that got furthest.",
    "cost": "mcc_spearman of the oracle's choice minus that of the rule's: what it costs not to know the truth.",
}
