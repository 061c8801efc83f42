"""From models to estimated latents: encodings of splits, the method's read-out fitted on those of the training data, and a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.train.engine import Stack
from bench.train.errors import BrokenContract, Diverged
from datasets import Instance
from methods import TorchMethod


def encode(stack: Stack, instances: Sequence[Instance], splits: Sequence[str]) -> dict[str, np.ndarray]:
    """Encodings of the named `splits` of each model's own instance, (n_models, n_samples, n_estimated) each.

    Those of the training data come with them where the method has a read-out. Splits are repeated to one size.
    """
    names = [*splits, *["train"] * stack.method.has_readout]
    return {name: stack.encode([getattr(instance, name) for instance in instances]) for name in names}


def estimates(
    method: TorchMethod, encoded: Mapping[str, np.ndarray], slot: int, instance: Instance, seed: int
) -> dict[str, np.ndarray]:
    """The estimated latents (n_samples, n_estimated) by split, of the model at `slot` of what `encode` gave.

    `seed` is the read-out's. Raises Diverged where they are not finite, and BrokenContract where they are no matrix.
    """
    own = {name: array[slot][: len(getattr(instance, name).x)] for name, array in encoded.items()}
    readout = fit_readout(method, seed, own["train"]) if method.has_readout else None
    return {name: finished(readout, array, len(array)) for name, array in own.items() if name != "train"}


def fit_readout(method: TorchMethod, seed: int, encoded: np.ndarray) -> Any:
    """The method's read-out, fitted on encodings of the training data (n_samples, n_estimated); None for a method that has none."""
    readout = method.readout(seed % 2**32)
    if readout is None:
        return None
    check(encoded, len(encoded))
    readout.fit(encoded)
    return readout


def finished(readout: Any, encoded: np.ndarray, n_points: int) -> np.ndarray:
    """Encodings through a fitted read-out, if there is one, checked on both sides of it."""
    check(encoded, n_points)
    if readout is not None:
        encoded = readout.transform(encoded)
        check(encoded, n_points)
    return encoded


def check(encoding: np.ndarray, n_points: int) -> None:
    """Raises BrokenContract where it is no real matrix with a row per point, and Diverged where it is not finite."""
    if encoding.dtype.kind not in "fiub" or encoding.ndim != 2 or len(encoding) != n_points or not encoding.shape[1]:
        raise BrokenContract(
            f"the encoding of {n_points} points is {encoding.dtype} {encoding.shape}, "
            "and must be real numbers (n_points, n_estimated)"
        )
    if not np.isfinite(encoding).all():
        raise Diverged("the encoding holds NaN or infinite values")
