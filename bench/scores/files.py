"""Reads latents that were estimated elsewhere, for `score`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.files import NoArrays, read_arrays
from bench.registry import UsageError
from bench.scores.metrics import Encoded, checked
from datasets.columns import of_order_one
from datasets.tables import labels

FEWEST_POINTS = 50
LARGEST, SMALLEST = 1e100, 1e-100  # between them, squares and sums can be held


def read(path: str) -> tuple[Encoded, Encoded]:
    """Returns the latents in an .npz file (`z`, `z_hat`, and `domain` where there are several) as `halves` does.

    Raises UsageError where the file or its arrays are not what `bench.scores.metrics.evaluate` needs.
    """
    return halves(_load(path), path)


def halves(arrays: Mapping[str, np.ndarray], where: str) -> tuple[Encoded, Encoded]:
    """Returns latents `z` (n_samples, n_latents) and `z_hat` (n_samples, n_estimated), and `domain` (n_samples,) if it is there, in two halves.

    Points are dealt to the halves at random, always in the same way. Raises UsageError, which begins with `where`, for arrays of which
    nothing can be scored.
    """
    for name, value in arrays.items():
        if value.ndim == 0:
            raise UsageError(f"{where}: {name} is a single value, not an array")
        if len(value) == 0:
            raise UsageError(f"{where}: {name} has no rows")
    z, z_hat = (_in_range(arrays[name]) for name in ("z", "z_hat"))
    if len(z) != len(z_hat):
        raise UsageError(f"{where}: z and z_hat have {len(z)} and {len(z_hat)} rows")
    domain = arrays.get("domain", np.zeros(len(z), dtype=int))
    if domain.shape != (len(z),):
        raise UsageError(f"{where}: domain must have shape ({len(z)},), and has {domain.shape}")
    domains = labels(domain)[0]
    if (domains < 0).any():
        raise UsageError(f"{where}: domain is missing in row {int(np.argmax(domains < 0))}")
    if len(z) < FEWEST_POINTS:
        raise UsageError(f"{where} has {len(z)} points; at least {FEWEST_POINTS} are needed")
    try:
        validation, test = split_at_random(z, z_hat, domains)
        return checked(validation, "validation"), checked(test, "test")
    except (ValueError, TypeError) as error:
        raise UsageError(f"{where}: {error}") from None


def split_at_random(z: np.ndarray, z_hat: np.ndarray, domains: np.ndarray) -> tuple[Encoded, Encoded]:
    """Points split at random into two halves of like size, the same ones again for as many points."""
    parts = np.array_split(np.random.default_rng(0).permutation(len(z)), 2)
    validation, test = (Encoded(z[rows], z_hat[rows], domains[rows]) for rows in parts)
    return validation, test


def _load(path: str) -> dict[str, np.ndarray]:
    try:
        arrays = read_arrays(path, lambda name: name in ("z", "z_hat", "domain"))
    except OSError as error:
        raise UsageError(f"{path} is not an .npz file that can be read ({error.strerror})") from None
    except NoArrays as error:
        raise UsageError(f"{path} is not an .npz file of plain arrays: {error}") from None
    for name in ("z", "z_hat"):
        if name not in arrays:
            raise UsageError(f"{path} has no array {name!r}; it needs z and z_hat, and may have domain")
    return arrays


def _in_range(values: np.ndarray) -> np.ndarray:
    """The same with each column whose numbers are too large or too small to be squared divided by a power of two, which moves no score."""
    if values.ndim != 2 or values.dtype.kind not in "biuf" or not values.size:
        return values
    scaled = of_order_one(values)
    with np.errstate(over="ignore"):
        magnitude = np.abs(values.astype(float)).max(axis=0)
    extreme = (magnitude > LARGEST) | ((magnitude < SMALLEST) & (magnitude > 0))
    return np.where(extreme, scaled, values) if extreme.any() else values
