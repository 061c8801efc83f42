"""The dataset registry, and what a dataset is: `generate(seed)` gives one `Instance` with its truth beside it.

One file per generator family. A generator is a frozen dataclass whose fields are its dials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from registry import Registry, field

if TYPE_CHECKING:
    from datasets.latents import Sources
    from datasets.mixings import LayeredMixing, Mixing

__all__ = ["DATA_VERSION", "Instance", "Split", "datasets", "field", "register", "stream"]

DATA_VERSION = 1  # the data of a seed never change within a version; tests hold golden hashes of them

datasets = Registry("data set", __name__, helpers=("latents", "mixings", "oracle", "splits", "support"))
register = datasets.register


@dataclass(frozen=True)
class Split:
    """Points of one split: `x` (n_samples, n_observed), `domains` (n_samples,) from 0, `z` (n_samples, n_latents)."""

    x: np.ndarray
    domains: np.ndarray
    z: np.ndarray


@dataclass(frozen=True)
class Instance:
    """One data set with its truth: three splits, the support of the mixing (n_observed, n_latents), what made them.

    In a user's own data the last three may be None, and the splits' latents may have no columns.
    """

    train: Split
    validation: Split
    test: Split
    support: np.ndarray | None
    n_domains: int
    sources: Sources | None
    mixing: Mixing | LayeredMixing | None

    @property
    def changing(self) -> np.ndarray | None:
        """Which latents have a distribution that differs between domains, (n_latents,); None where that is not known."""
        if self.sources is None:
            return None
        of_domain = np.stack([self.sources.mean, self.sources.std, self.sources.shape])
        return np.ptp(of_domain, axis=1).max(axis=0) > 0


def stream(seed: np.random.SeedSequence, *key: int) -> np.random.Generator:
    """An independent random generator for each `key` below `seed`; the same seed and key give the same numbers."""
    child = np.random.SeedSequence(entropy=seed.entropy, spawn_key=(*seed.spawn_key, *key))
    return np.random.default_rng(child)
