"""What theory promises of each latent of an instance, before any method is trained. The derivations are in docs/theory.md.

Write ch(i) for the observed variables that depend on latent i, C(i) for the latents with the children of i (its twins and itself), and

    w_L(z, u) = ( q_i''(z_i|u) - q_i''(z_i|1), q_i'(z_i|u) - q_i'(z_i|1) ) for i in L,   q_i = log p(z_i|u),   u = 2..U.

| promise               | condition                                                                                      |
|-----------------------|------------------------------------------------------------------------------------------------|
| promised_sparsity     | shadow(i) is empty (Zheng, Ng & Zhang 2022)                                                     |
| promised_independence | C(i) = {i}                                                                                     |
| promised_changes      | w over all latents has rank 2 n_latents (Hyvarinen et al. 2019), or the one-statistic case      |
| promised_both         | C(i) = {i}, or w over C(i) has rank 2 |C(i)|, or the one-statistic case for C(i)                |

The one-statistic case (Khemakhem et al. 2020): Gaussian sources of which only variances change, whose changes of 1/variance have rank |L|.
The conditions are sufficient: `no condition met` does not say that a latent cannot be recovered. `tie` says that a condition on the support is
met, but that another support with as many edges exists in which an observed variable stands in for a latent (datasets.support.stand_ins):
the theorems exclude it by a condition on cancellation that cannot be checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets import Instance
from datasets import support as supports
from datasets.latents import FAMILIES, Sources
from datasets.mixings import MixingFunction

YES, NO, NOT_COVERED, TIE = "yes", "no condition met", "not covered", "tie"
PROMISES = ("promised_sparsity", "promised_independence", "promised_changes", "promised_both")
PROMISE_OF = {  # what a method assumes, by its corner of a ladder: the promise that speaks of it
    "changes": "promised_changes",
    "sparsity": "promised_independence",
    "both": "promised_both",
}
N_POINTS = 16  # latents at which ranks are taken; the median over them is reported
N_SPAN_POINTS = 256  # latents over which gradients must span
TOLERANCE = 1e-7  # a singular value below this part of the largest one counts as 0

DEFINITIONS = {
    "promised_sparsity": "Per latent: whether its shadow is empty, so that sparsity of the mixing alone identifies it. `tie`, here and in the "
    "rows of independence and of both: it would, but another support with as many edges exists in which an observed variable stands in for "
    "the latent, which the theorem excludes by a condition that cannot be checked.",
    "promised_independence": "Per latent: whether it has no twin, so that sparsity and independence identify it.",
    "promised_changes": "Whether the changes over domains suffice for all latents, whatever the mixing.",
    "promised_both": "Per latent: whether sparsity, independence and the changes of its twins and itself identify it.",
    "shadow_sizes": "Per latent: how many others depend on all observed variables that it does.",
    "twin_class_sizes": "Per latent: how many latents, itself included, have its children.",
    "change_rank": "Rank of w over all latents, at most 2 n_latents; in the one-statistic case, where that suffices, of the changes of "
    "1/variance, at most n_latents.",
    "change_margin": "Smallest singular value of that matrix, latents in units of their standard deviation, centred over domains and "
    "divided by the root of their number: near 0, the changes suffice in name only.",
    "class_change_rank": "Per latent: rank of w over its twins and itself.",
    "class_change_margin": "Per latent: smallest singular value of that matrix, in the same units.",
}


def columns(instance: Instance) -> dict[str, Any]:
    """Returns the oracle's verdicts as columns of a result row: one text or number per latent where the definition says so.

    What is not known is None: in a user's own data all but what follows from a support that comes with them.
    """
    support, sources, mixing = instance.support, instance.sources, instance.mixing
    if support is None:
        return dict.fromkeys(DEFINITIONS)
    inside = supports.shadows(support)
    alike = inside & inside.T | np.eye(len(inside), dtype=bool)  # row i: C(i)
    sizes = {"shadow_sizes": inside.sum(axis=1).tolist(), "twin_class_sizes": alike.sum(axis=1).tolist()}
    if sources is None or mixing is None:
        return dict.fromkeys(DEFINITIONS) | sizes
    z = instance.validation.z[:N_POINTS].astype(float)
    everything = np.ones(len(inside), dtype=bool)
    changes = {row.tobytes(): judge_changes(sources, z, row) for row in (everything, *alike)}
    rank_all, margin_all, enough_all = changes[everything.tobytes()]
    per_class = [changes[row.tobytes()] for row in alike]

    # Where a part of u is all that methods are told, the latents depend on each other within it.
    is_hidden = instance.train.u is None and len(sources.mean) > instance.n_domains
    is_independent = len(inside) == 1 or (sources.dependence == 0 and not is_hidden)
    independent = np.logical_and(is_independent, support.any(axis=0))
    points = instance.validation.z[:N_SPAN_POINTS].astype(float)
    sparsity_covered = mixing.smooth and not mixing.linear_only and spans(mixing, support, points)
    changes_covered = mixing.smooth and FAMILIES[sources.family].smooth
    tied = mixed_by_ties(support)
    by_sparsity = _verdicts(~inside.any(axis=1), independent & sparsity_covered, tied)
    by_independence = _verdicts(alike.sum(axis=1) == 1, independent & sparsity_covered, tied)
    by_changes = _verdicts(np.full(len(inside), enough_all), independent & changes_covered)
    by_class = _verdicts(
        np.array([enough for _, _, enough in per_class]), independent & changes_covered & sparsity_covered, tied
    )
    return {
        "promised_sparsity": by_sparsity,
        "promised_independence": by_independence,
        "promised_changes": by_changes,
        "promised_both": [_any(*each) for each in zip(by_independence, by_class, by_changes, strict=True)],
        **sizes,
        "change_rank": rank_all,
        "change_margin": margin_all,
        "class_change_rank": [rank for rank, _, _ in per_class],
        "class_change_margin": [margin for _, margin, _ in per_class],
    }


def mixed_by_ties(support: np.ndarray) -> np.ndarray:
    """Says of which latents a tie stands against what sparsity promises, (n_latents,) boolean. B_i is latent i and its shadow.

    A stand-in mixes the parents P of an observed variable. That is no news of a latent whose B_i contains P: sparsity alone leaves it a
    function of B_i. It is of any other latent of P, and of every latent that has such a one in its shadow.
    """
    closed = supports.shadows(support) | np.eye(support.shape[1], dtype=bool)
    against = np.zeros(support.shape[1], dtype=bool)
    for _, parents in supports.stand_ins(support):
        against[list(parents)] |= ~closed[np.ix_(parents, parents)].all(axis=1)
    return np.asarray((closed & against).any(axis=1))


def _verdicts(met: Any, covered: Any, tied: Any = None) -> list[str]:
    """Returns a verdict per latent, from boolean arrays (n_latents,): whether the condition is met, theory covers it, and a tie mixes it."""
    met = np.where(met, YES if tied is None else np.where(tied, TIE, YES), NO)
    return np.where(covered, met, NOT_COVERED).tolist()


def _any(*verdicts: str) -> str:
    """Returns what several sufficient conditions say: `yes` if one is met, else `tie` if one is but for a tie, else `not covered` if one is."""
    return next((verdict for verdict in (YES, TIE, NOT_COVERED) if verdict in verdicts), NO)


def judge_changes(sources: Sources, z: np.ndarray, chosen: np.ndarray) -> tuple[int, float, bool]:
    """Returns rank and margin of the changes of the `chosen` latents, and whether they suffice.

    In the one-statistic case, where it suffices, rank and margin are those of the changes of 1 / variance.
    """
    n = int(chosen.sum())
    rank, margin = rank_and_margin(change_matrix(sources, z, chosen))
    if rank < 2 * n and sources.family == "gaussian" and np.ptp(sources.mean[:, chosen], axis=0).max() < 1e-12:
        precision = (sources.spread[chosen] / sources.std[:, chosen]) ** 2
        one_rank, one_margin = rank_and_margin(precision[None])
        if one_rank == n:
            return one_rank, one_margin, True
    return rank, margin, rank == 2 * n


def change_matrix(sources: Sources, z: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Returns q'' and q' of the `chosen` latents (boolean) at `z`, in units of their spread: (n_samples, n_domains, 2 * n_chosen)."""
    spread = sources.spread
    slope, curvature = sources.derivatives(z)
    stacked = np.concatenate([(curvature * spread**2)[..., chosen], (slope * spread)[..., chosen]], axis=-1)
    return stacked.transpose(1, 0, 2)


def rank_and_margin(matrices: np.ndarray) -> tuple[int, float]:
    """Returns medians over `matrices` (n_samples, n_domains, columns) of the rank and of the smallest of `columns` singular values.

    Rows are centred over domains, which has the rank of the differences from any one domain and prefers none; singular values
    are divided by sqrt(n_domains). With as few domains as columns the margin is 0.
    """
    n_samples, n_domains, n_columns = matrices.shape
    centred = matrices - matrices.mean(axis=1, keepdims=True)
    values = np.linalg.svd(centred, compute_uv=False) / np.sqrt(n_domains)
    ranks = (values > TOLERANCE * np.maximum(values[:, :1], TOLERANCE)).sum(axis=-1)
    smallest = values[:, n_columns - 1] if n_domains > n_columns else np.zeros(n_samples)
    return int(np.median(ranks)), float(np.median(smallest))


def spans(mixing: MixingFunction, support: np.ndarray, z: np.ndarray) -> bool:
    """Says whether the gradient of every observed variable, over `z`, spans the space of its parents (Zheng, Ng & Zhang 2022)."""
    jacobian = mixing.jacobian(z)
    for row, parents in enumerate(support):
        values = np.linalg.svd(jacobian[:, row, parents], compute_uv=False)
        if len(values) and values[-1] <= TOLERANCE * values[0]:
            return False
    return True
