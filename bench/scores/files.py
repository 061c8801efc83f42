"""Reads latents that were estimated elsewhere, for `score`."""

from __future__ import annotations

import numpy as np

from bench.registry import UsageError
from bench.scores.metrics import Encoded, checked
from datasets.file import domains_from_0, load

FEWEST_POINTS = 50


def read(path: str) -> tuple[Encoded, Encoded]:
    """Returns the latents in an .npz file (`z`, `z_hat`, and `domain` where there are several), split at random into two halves.

    Raises UsageError where the file or its arrays are not what `bench.scores.metrics.evaluate` needs.
    """
    arrays = load(path, required=("z", "z_hat"), optional=("domain",))
    z, z_hat = arrays["z"], arrays["z_hat"]
    if len(z) != len(z_hat):
        raise UsageError(f"{path}: z and z_hat have {len(z)} and {len(z_hat)} rows")
    domains = domains_from_0(path, arrays.get("domain", np.zeros(len(z), dtype=int)), len(z))
    if len(z) < FEWEST_POINTS:
        raise UsageError(f"{path} has {len(z)} points; at least {FEWEST_POINTS} are needed")
    halves = np.array_split(np.random.default_rng(0).permutation(len(z)), 2)
    validation, test = (Encoded(z[rows], z_hat[rows], domains[rows]) for rows in halves)
    try:
        return checked(validation, "validation"), checked(test, "test")
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from None
