"""Supports of mixings with an exact degree of violation of structural sparsity.

A support is boolean, (n_observed, n_latents): `S[k, i]` iff `x_k` depends on `z_i`. `ch(i)` is column `i`; latent `j` is in
`shadow(i)` iff `ch(i)` is contained in `ch(j)`. Structural sparsity (Zheng, Ng & Zhang 2022) holds for `i` iff `shadow(i)` is empty.
"""

from __future__ import annotations

import numpy as np

from registry import UsageError

HALF_A_DIGIT = 0.005  # a third may be written 0.33


def shadows(support: np.ndarray) -> np.ndarray:
    """Boolean (n_latents, n_latents): entry (i, j) iff `j` is in `shadow(i)`."""
    children = support.astype(int)
    missing = children.T @ (1 - children)  # children of i that j lacks
    inside = missing == 0
    np.fill_diagonal(inside, False)
    return inside


def violation(support: np.ndarray) -> float:
    """Fraction of latents with a nonempty shadow."""
    return float(shadows(support).any(axis=1).mean())


def twins(support: np.ndarray) -> float:
    """Fraction of latents that share their exact set of children with another latent."""
    inside = shadows(support)
    return float((inside & inside.T).any(axis=1).mean())


def counts(n_latents: int, violation: float, twins: float | None) -> tuple[int, int]:
    """How many latents violate and how many of them are twins. Raises UsageError for a value that no support has."""
    violating = _multiple("violation", violation, n_latents)
    fewest = 2 if violating == n_latents else 0
    if twins is None:
        if fewest > n_latents:
            raise UsageError(f"violation={violation:g} needs two latents that are twins, and n_latents={n_latents}")
        return violating, fewest
    twin = _multiple("twins", twins, n_latents)
    if twin != 1 and fewest <= twin <= violating:
        return violating, twin
    pairs = [(v, t) for v in range(n_latents + 1) for t in range(v + 1) if t != 1 and (v < n_latents or t >= 2)]
    near = sorted(pairs, key=lambda p: (abs(p[0] - violating) + abs(p[1] - twin), -p[0]))[:3]
    words = " or ".join(f"violation={v / n_latents:.4g}, twins={t / n_latents:.4g}" for v, t in near)
    raise UsageError(f"no mixing has violation={violation:g} with twins={twins:g}; the nearest are {words}")


def _multiple(name: str, value: float, n: int) -> int:
    count = round(value * n)
    if abs(value - count / n) >= HALF_A_DIGIT:
        lower, upper = np.floor(value * n) / n, np.ceil(value * n) / n
        raise UsageError(
            f"{name}={value:g} is not a multiple of 1/n_latents (n_latents={n}); the nearest are {lower:.4g} and {upper:.4g}"
        )
    return count


def preorder(n_latents: int, violating: int, twin: int, order: np.ndarray) -> np.ndarray:
    """The smallest shadows with the given counts, as boolean (n_latents, n_latents).

    Latents violate in the sequence of `order`, and the strict shadow of each is the last of them, so that a larger violation
    keeps the shadows of a smaller one. Where every latent violates there is none such, and the shadow is a group of twins.
    Twins come in pairs, with one triple where their number is odd.
    """
    inside = np.zeros((n_latents, n_latents), dtype=bool)
    twin_latents = list(order[:twin])
    groups = [twin_latents[i : i + 2] for i in range(0, twin - twin % 2, 2)]
    if twin % 2:
        groups[-1].append(twin_latents[-1])
    for group in groups:
        inside[np.ix_(group, group)] = True
    last = groups[-1] if violating == n_latents and groups else order[-1:]
    inside[np.ix_(order[twin:violating], last)] = True
    np.fill_diagonal(inside, False)
    return inside


def build(shadow: np.ndarray, n_observed: int, density: float, rng: np.random.Generator) -> np.ndarray:
    """A support, (n_observed, n_latents), whose shadows are exactly `shadow`.

    Row `i < n` starts as `{i} + shadow(i)`, which gives the shadows asked for and full structural rank; further rows start as
    one latent with its shadow. Then edges are offered to the row with the fewest parents, in random order, each with its
    closure, and taken unless they change a shadow; `density` is the fraction of those possible additions that is made.
    """
    n = len(shadow)
    if n_observed < n:
        raise UsageError(f"n_observed={n_observed} must be at least n_latents={n}")
    closed = shadow | np.eye(n, dtype=bool)
    extra = np.concatenate([rng.permutation(n) for _ in range(n_observed // n)])[: n_observed - n]
    support = np.concatenate([closed, closed[extra]])
    stages = [support]
    offers = rng.random((n_observed, n))
    while True:
        bigger = _one_more(support, shadow, closed, offers)
        if bigger is None:
            return stages[round(density * (len(stages) - 1))]
        support = bigger
        stages.append(support)


def _one_more(support: np.ndarray, shadow: np.ndarray, closed: np.ndarray, offers: np.ndarray) -> np.ndarray | None:
    sizes = support.sum(axis=1)
    rows, latents = np.nonzero(~support)
    for index in np.lexsort((offers[rows, latents], sizes[rows])):
        bigger = support.copy()
        bigger[rows[index]] |= closed[latents[index]]
        if np.array_equal(shadows(bigger), shadow):
            return bigger
    return None
