"""Draws the three splits of an instance from its sources and its mixing."""

from __future__ import annotations

import numpy as np

from datasets import Seed, Split, stream
from datasets.latents import Sources
from datasets.mixings import MixingFunction

N_VALIDATION = N_TEST = 2000


def draw(
    seed: Seed,
    sample_key: int,
    shuffle_key: int,
    n_train: int,
    sources: Sources,
    mixing: MixingFunction,
    noise: float,
) -> tuple[Split, Split, Split]:
    """Returns train, validation and test, each with its domains in equal numbers (to one point) and in random order.

    Every split and domain has its own stream, so that a domain keeps its points where their number does not change.
    """
    return tuple(  # type: ignore[return-value]
        _split(seed, (sample_key, index), (shuffle_key, index), size, sources, mixing, noise)
        for index, size in enumerate((n_train, N_VALIDATION, N_TEST))
    )


def _split(seed, sample_key, shuffle_key, size, sources, mixing, noise) -> Split:
    n_domains, n_latents = sources.mean.shape
    n_observed = len(mixing.support)
    sizes = np.diff(np.arange(n_domains + 1) * size // n_domains)
    draws = [stream(seed, *sample_key, u).normal(size=(n, n_latents + n_observed)) for u, n in enumerate(sizes)]
    z = np.concatenate([sources.sample(u, draw[:, :n_latents]) for u, draw in enumerate(draws)])
    x = mixing(z) + noise * np.concatenate(draws)[:, n_latents:]
    order = stream(seed, *shuffle_key).permutation(size)
    domains = np.repeat(np.arange(n_domains), sizes)
    return Split(x[order].astype(np.float32), domains[order].astype(np.int64), z[order].astype(np.float32))
