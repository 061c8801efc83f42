"""The data set `dictionary`: one domain and a random sparse support, where identifiability from sparsity alone was demonstrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.registry import UsageError
from datasets import Instance, Seed, field, latents, mixings, register, splits, stream
from datasets import support as supports

MAX_SUPPORTS = 10_000
VARIANCES = (0.5, 2.0)  # range of a latent's variance

# Independent random streams below a data seed.
STRUCTURE, MIXING, REFERENCE, SOURCES, SAMPLE, SHUFFLE = range(6)


@register("dictionary", source="Zheng, Ng & Zhang 2022; Zheng et al. 2026")
@dataclass(frozen=True)
class Dictionary:
    """Latents without domains, mixed by a smooth network on a random support that satisfies structural sparsity.

    Latents are independent with variances U(0.5, 2). Every entry of the support is drawn alike, and supports are drawn until every
    latent is the only common parent of some observed variables. The network is that of sparse-mixing.
    """

    n_latents: int = field(5, help="number of latents", low=2, high=50)
    n_observed: int | None = field(None, help="number of observed variables; none: twice n_latents", low=2, high=500)
    n_samples: int = field(10_000, help="training points", low=100, high=10_000_000)
    density: float = field(0.4, help="probability of an entry of the support", low=0.01, high=0.99)
    sources: str = field("gaussian", help="family of the latents' distributions", choices=tuple(latents.FAMILIES))
    nonlinearity: float = field(
        1.0, help="size of the nonlinear part relative to the linear part; 0 is linear", low=0, high=10
    )
    noise: float = field(0.05, help="standard deviation of the observation noise", low=0, high=10)

    def __post_init__(self):
        if self.shape[0] < self.n_latents:
            raise UsageError(f"n_observed={self.n_observed} must be at least n_latents={self.n_latents}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Gives (n_observed, n_latents, 1), which is known without generating."""
        return self.n_observed or 2 * self.n_latents, self.n_latents, 1

    def generate(self, seed: Seed) -> Instance:
        """Returns the instance of one data seed. Raises UsageError if no support or no mixing was found."""
        support = self.draw_support(seed)
        mixing = mixings.first_well_posed(support, "masked-mlp", self.nonlinearity, seed, REFERENCE, MIXING)
        std = np.sqrt(stream(seed, SOURCES).uniform(*VARIANCES, (1, self.n_latents))) * latents.LATENT_STD
        shape = np.full_like(std, latents.FAMILIES[self.sources].shape)
        sources = latents.Sources(self.sources, np.zeros_like(std), std, shape)
        parts = splits.draw(seed, SAMPLE, SHUFFLE, self.n_samples, sources, mixing, self.noise)
        return Instance(*parts, support, 1, sources, mixing)

    def draw_support(self, seed: Seed) -> np.ndarray:
        """Returns the first drawn support without shadows, in which every observed variable has a parent."""
        rng = stream(seed, STRUCTURE)
        for _ in range(MAX_SUPPORTS):
            support = rng.random(self.shape[:2]) < self.density
            covered = support.any(axis=0).all() and support.any(axis=1).all()
            if covered and not supports.shadows(support).any():
                return support
        raise UsageError(
            f"no support with structural sparsity in {MAX_SUPPORTS} draws at density={self.density:g}, n_latents={self.n_latents}, "
            f"n_observed={self.shape[0]}; try more observed variables or a density nearer 0.4"
        )
