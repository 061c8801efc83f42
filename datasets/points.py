"""The points of one data set of a user's, as they are used: scaled, numbered, and split into train, validation and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.registry import UsageError
from datasets import Seed, Units, stream
from datasets.columns import exponents, is_constant, of_order_one, rounding

HELD_OUT = 0.2  # part of the points in validation, and again in test
MOST_HELD_OUT = 2000  # points of each, unless a single group has more
PARTS = ("train", "validation", "test")
BLOCK = 2**23  # numbers that are in double precision at a time: those of images take a byte in their file


@dataclass(frozen=True, eq=False)
class Points:
    """One data set. `where` says in messages where it is from.

    x (n_samples, n_observed), of points that had the shape `x_shape`, and z (n_samples, n_known), without columns where nothing is known,
    in float32; domain (n_samples,) from 0, with the labels of the domains; where they are known, split (n_samples,), places in `PARTS`,
    group (n_samples,) from 0, u (n_samples, n_u) in float32, and support, as it is in the file. `units` lead from the numbers in the file to
    x, `u_units` to u. `path` is the file's, `columns` and `u_columns` are the names of those of a table that are x and u, and `rows`
    (n_samples,) the places in the file of points that are not all of it.
    """

    where: str
    x: np.ndarray
    x_shape: tuple[int, ...]
    z: np.ndarray
    domain: np.ndarray
    labels: tuple[str, ...]
    split: np.ndarray | None = None
    group: np.ndarray | None = None
    support: np.ndarray | None = None
    units: Units = Units(np.zeros(()), np.ones(()))
    path: str = ""
    columns: tuple[str, ...] = ()
    u_columns: tuple[str, ...] = ()
    rows: np.ndarray | None = None
    u: np.ndarray | None = None
    u_units: Units | None = None
    is_image: bool = False  # x is flat, channels first, and `x_shape` (channels, height, width)

    def row(self, places: np.ndarray) -> np.ndarray:
        """Returns the rows of the file, from 0, in which the points at `places` are."""
        return places if self.rows is None else self.rows[places]

    def parts(self, seed: Seed) -> list[np.ndarray]:
        """Returns the rows of train, validation and test. Raises UsageError where no group can be held out.

        Where the user's split has no validation, it is drawn from train, the same for every seed.
        """
        rows = np.arange(len(self.x))
        if self.split is not None:
            train, validation, test = (rows[self.split == part] for part in range(len(PARTS)))
            if not len(validation):
                train, validation = self._held_out(train, _n_held_out(len(train)), stream(0, 0))
            return [train, validation, test]
        n_held_out, rng = _n_held_out(len(rows)), stream(seed, 0)
        if self.group is not None:
            rest, test = self._held_out(rows, n_held_out, rng)
            train, validation = self._held_out(rest, n_held_out, rng)
            return [train, validation, test]
        return np.split(rng.permutation(len(rows)), [len(rows) - 2 * n_held_out, len(rows) - n_held_out])

    def _held_out(self, rows: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns which of `rows` stay, and about `n` that do not, drawn at random, in whole groups where there are any.

        Of every domain a group stays, since what a method learns of a domain it learns in training.
        """
        if self.group is None:
            order = rng.permutation(rows)
            return np.sort(order[n:]), np.sort(order[:n])
        order = np.argsort(self.group[rows], kind="stable")
        members = np.split(rows[order], np.flatnonzero(np.diff(self.group[rows][order])) + 1)
        left = np.bincount(self.domain[rows], minlength=len(self.labels))

        def may_go(own: np.ndarray) -> bool:
            domains, counts = np.unique(self.domain[own], return_counts=True)
            return bool((left[domains] > counts).all())

        shuffled = [members[place] for place in rng.permutation(len(members))]
        chosen: list[np.ndarray] = []
        n_chosen = 0
        for own in shuffled:
            if n_chosen + len(own) / 2 <= n and may_go(own):
                left -= np.bincount(self.domain[own], minlength=len(left))
                chosen.append(own)
                n_chosen += len(own)
            if n_chosen >= n:
                break
        if not chosen:
            chosen = sorted(filter(may_go, shuffled), key=len)[:1]
        if not chosen:
            raise UsageError(
                f"{self.where}: no group can be held out, since each is the only one left of a domain; leave the groups or the domains out "
                "with --set file.group=none or --set file.domain=none"
            )
        out = np.sort(np.concatenate(chosen))
        return np.setdiff1d(rows, out), out


def _n_held_out(n: int) -> int:
    return min(round(HELD_OUT * n), MOST_HELD_OUT)


def scaled(where: str, name: str, value: np.ndarray, columns: list[str]) -> tuple[np.ndarray, np.ndarray, Units]:
    """Returns the columns of `value` (n_samples, ...) centred and scaled, (n_samples, n_columns) in float32, which are constant, and units.

    A constant column is 0. The units are in double precision: what they make of `value`, rounded, are the very numbers that are returned.
    Raises UsageError where a value is not finite; `columns` are what the columns are called.
    """
    flat = np.ascontiguousarray(value.reshape(len(value), -1))
    found, is_still = np.zeros(flat.shape, dtype=np.float32), np.zeros(flat.shape[1], dtype=bool)
    units = Units(np.zeros(flat.shape[1]), np.full(flat.shape[1], np.inf))
    # Not less than two columns at a time: numpy adds the numbers of a single one in another order.
    n_blocks = max(1, min(flat.size // BLOCK, flat.shape[1] // 2))
    for at in np.array_split(np.arange(flat.shape[1]), n_blocks):
        own = flat[:, at[0] : at[-1] + 1]
        block = of_order_one(own)
        bad = ~np.isfinite(block)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise UsageError(
                f"{where}: {name} holds values that are not finite, the first in row {row} (column {columns[at[column]]})"
            )
        still = is_still[at] = is_constant(block, rounding(value.dtype))
        # Centred before they lose digits: a column may be a time in seconds.
        mean = block.mean(axis=0)
        centred = block - mean
        span = np.where(still, 1, np.abs(centred).max(axis=0))
        found[:, at] = np.where(still, 0, centred / span)
        power = exponents(own)
        with np.errstate(over="ignore"):  # of numbers near the greatest that there are
            units.centre[at] = np.ldexp(mean, power)
            units.scale[at] = np.where(still, np.inf, np.ldexp(span, power))
    return found, is_still, units
