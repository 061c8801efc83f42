"""Supports of mixings with an exact degree of violation of structural sparsity.

A support is boolean, (n_observed, n_latents): `S[k, i]` iff `x_k` depends on `z_i`. `ch(i)` is column `i`; latent `j` is in
`shadow(i)` iff `ch(i)` is contained in `ch(j)`. Structural sparsity (Zheng, Ng & Zhang 2022) holds for `i` iff `shadow(i)` is empty.
"""

from __future__ import annotations

import functools
from collections import Counter

import numpy as np

from bench.registry import UsageError


def shadows(support: np.ndarray) -> np.ndarray:
    """Returns a boolean array (n_latents, n_latents), true at (i, j) iff `j` is in `shadow(i)`."""
    children = support.astype(int)
    missing = children.T @ (1 - children)  # children of i that j lacks
    inside = missing == 0
    np.fill_diagonal(inside, False)
    return inside


def violation(support: np.ndarray) -> float:
    """Returns the fraction of latents with a nonempty shadow."""
    return float(shadows(support).any(axis=1).mean())


def twins(support: np.ndarray) -> float:
    """Returns the fraction of latents that share their exact set of children with another latent."""
    inside = shadows(support)
    return float((inside & inside.T).any(axis=1).mean())


MOST_PARENTS = 12  # of an observed variable that `stand_ins` considers: the orders of more take too long


def stand_ins(support: np.ndarray) -> list[tuple[int, tuple[int, ...]]]:
    """Returns the ties of a support: observed variables that can stand in for a latent without more edges, each with its parents.

    Let P be the parents of x_k. Take x_k itself for one of them, and for each other one its conditional quantile given x_k and those
    before it, in some order: these are independent, and latent p of P is a function of x_k and of the new ones up to its own place, the
    last latent of all of P. So an observed variable depends on x_k and on the new ones up to the place of its last parent in P, and x_k on
    one alone. It is a tie if some order gives no more edges than `support` has. Every latent of P is then a mixture of several new ones.
    """
    rows = [frozenset(np.flatnonzero(row).tolist()) for row in support]
    times = Counter(rows)  # many values of a picture have the same parents
    tied = {parents: _is_tied(parents, times) for parents in times}
    return [(observed, tuple(sorted(parents))) for observed, parents in enumerate(rows) if tied[parents]]


def _is_tied(parents: frozenset[int], times: Counter[frozenset[int]]) -> bool:
    """Whether an observed variable with these `parents` is a tie, where rows occur so many `times`, its own included."""
    if not 2 <= len(parents) <= MOST_PARENTS:
        return False
    touching: Counter[frozenset[int]] = Counter()
    for row, n in (times - Counter([parents])).items():
        touching[row & parents] += n
    touching.pop(frozenset(), None)
    # A row that lacks a parent has at least one edge more; x_k has all but one less.
    spared = len(parents) - 1
    if sum(n for row, n in touching.items() if row < parents) > spared:
        return False
    most = spared + sum(n * len(row) for row, n in touching.items())
    return _has_order(parents, frozenset(touching.items()), most)


@functools.lru_cache
def _has_order(parents: frozenset[int], rows: frozenset[tuple[frozenset[int], int]], most: int) -> bool:
    """Whether in some order of `parents` the `rows`, each so many times, have at most `most` edges: by the sets that come first."""
    fewest = {frozenset[int](): 0}
    for place in range(1, len(parents) + 1):
        grown: dict[frozenset[int], int] = {}
        for first, edges in fewest.items():
            for latent in parents - first:
                placed = first | {latent}
                n_ended = sum(n for row, n in rows if latent in row and row <= placed)
                total = edges + n_ended * (1 + min(place, len(parents) - 1))
                if total <= most:
                    grown[placed] = min(total, grown.get(placed, total))
        fewest = grown
    return bool(fewest)


def counts(
    n_latents: int, violation: float, twins: float | None, shadow_size: int | None = None
) -> tuple[int, int, int | None]:
    """Says how many latents violate, how many of them are twins, and the size of their shadows (none: the smallest possible).

    Raises UsageError for a combination that no support has; it names the nearest that some have.
    """
    violating = multiple("violation", violation, n_latents)
    choices = [twin for twin in range(violating + 1) if _feasible(n_latents, violating, twin, shadow_size)]
    twin = choices[0] if twins is None and choices else multiple("twins", twins or 0.0, n_latents)
    if twin in choices:
        return violating, twin, shadow_size
    sizes = [None] if shadow_size is None else [None, *range(1, n_latents)]
    near = sorted(
        (
            abs(v - violating) + (0 if twins is None else abs(t - twin)) + abs((s or 0) - (shadow_size or 0)),
            -v,
            t,
            s or 0,
        )
        for v in range(n_latents + 1)
        for t in range(v + 1)
        for s in sizes
        if _feasible(n_latents, v, t, s)
    )[:3]
    words = " or ".join(_words(-v / n_latents, t / n_latents, s or None) for _, v, t, s in near)
    raise UsageError(
        f"no mixing has {_words(violation, twins, shadow_size)}; the nearest with n_latents={n_latents} are {words}"
    )


def is_feasible(n_latents: int, violation: float, twins: float | None, shadow_size: int | None) -> bool:
    """Says whether some support has what `counts` takes."""
    try:
        counts(n_latents, violation, twins, shadow_size)
    except UsageError:
        return False
    return True


def _words(violation: float, twins: float | None, shadow_size: int | None) -> str:
    parts = [f"violation={violation:.4g}"]
    parts += [] if twins is None else [f"twins={twins:.4g}"]
    parts += [] if shadow_size is None else [f"shadow_size={shadow_size}"]
    return ", ".join(parts)


def _feasible(n_latents: int, violating: int, twin: int, size: int | None) -> bool:
    if twin == 1 or twin > violating or (violating == n_latents and twin == 0):
        return False
    if size is None:
        return True
    free = n_latents - violating  # what strict shadows are made of
    return (twin == violating or free >= size) and (twin == 0 or bool(_group_sizes(twin, size, free)))


def _group_sizes(twin: int, size: int, free: int) -> list[int]:
    """Returns sizes of the groups of twins, each at most `size` + 1 and at most `free` short of it; none if there is no such partition."""
    n_groups = -(-twin // (size + 1))
    sizes = [len(part) for part in np.array_split(np.arange(twin), n_groups)]
    return sizes if min(sizes) >= max(2, size + 1 - free) else []


def multiple(name: str, value: float, n: int) -> int:
    """Says how many of `n` latents a fraction is. Raises UsageError if it is not a multiple of 1/n, rounded to two digits or more."""
    count = round(value * n)
    if not any(np.isclose(value, round(count / n, digits), rtol=0, atol=1e-12) for digits in range(2, 17)):
        lower, upper = np.floor(value * n) / n, np.ceil(value * n) / n
        raise UsageError(
            f"{name}={value:g} is not a multiple of 1/n_latents (n_latents={n}); the nearest are {lower:.4g} and {upper:.4g}"
        )
    return count


def preorder(n_latents: int, violating: int, twin: int, size: int | None, order: np.ndarray) -> np.ndarray:
    """Returns shadows with the given counts, as boolean (n_latents, n_latents).

    Latents violate in the sequence of `order`, and strict shadows are made of the last of them, so that a larger violation keeps
    the shadows of a smaller one. Where `size` is none, a strict shadow is one latent, or a group of twins (then the last latents)
    where every latent violates, and twins come in pairs, with one triple where their number is odd. Otherwise a group of twins that
    is too small for a shadow of that size has the last latents in its shadow too.
    """
    inside = np.zeros((n_latents, n_latents), dtype=bool)
    free = n_latents - violating
    if free == 0:
        order = np.roll(order, twin)
    pairs = [2] * (twin // 2 - 1) + [2 + twin % 2] if twin else []
    sizes = pairs if size is None else _group_sizes(twin, size, free) if twin else []
    groups = np.split(order[:twin], np.cumsum(sizes)[:-1]) if twin else []
    for group in groups:
        inside[np.ix_(group, group)] = True
        if size is not None:
            inside[np.ix_(group, order[n_latents - (size + 1 - len(group)) :])] = True
    strict = order[twin:violating]
    if len(strict):
        last = groups[-1] if free == 0 else order[n_latents - (size or 1) :]
        inside[np.ix_(strict, last)] = True
    np.fill_diagonal(inside, False)
    return inside


def build(shadow: np.ndarray, n_observed: int, density: float, rng: np.random.Generator) -> np.ndarray:
    """Builds a support, (n_observed, n_latents), whose shadows are exactly `shadow`.

    Row `i < n` starts as `{i} + shadow(i)`, which gives the shadows asked for and full structural rank; further rows start as
    one latent with its shadow. Then edges are offered to the row with the fewest parents, in random order, each with its
    closure, and taken unless they change a shadow; `density` is the fraction of those possible additions that is made.
    """
    n = len(shadow)
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
    """Returns `support` with one more edge and its closure, or None where every further edge would change a shadow.

    A new edge (k, j) puts j into the shadow of a latent i where x_k is the only child that i has and j lacks.
    """
    has = support.astype(np.float32)  # small counts are exact, and their products fast
    missing = has.T @ (1 - has)  # children of i that j lacks
    last = (missing == 1) & ~shadow
    spoils = (has @ last > 0) & ~support
    allowed = ~support & (spoils.astype(np.float32) @ closed.T == 0)
    if not allowed.any():
        return None
    turn = np.where(allowed, has.sum(axis=1, keepdims=True) + offers, np.inf)
    row, latent = np.unravel_index(turn.argmin(), turn.shape)
    bigger = support.copy()
    bigger[row] |= closed[latent]
    return bigger
