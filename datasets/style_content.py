"""The data set `style-content`: content that is the same in every domain beside style that changes, as in the work on partial identifiability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.registry import UsageError, lazy_module
from datasets import Instance, Seed, field, latents, mixings, register, splits, stream

stats = lazy_module("scipy.stats")

MEANS = (-4.0, 4.0)  # range of a style latent's mean in a domain
VARIANCES = (0.01, 1.0)  # range of its variance

# Independent random streams below a data seed.
DOMAIN, MIXING, SAMPLE, SHUFFLE = range(4)


@register("style-content", source="Kong et al. 2022; Li et al. 2023")
@dataclass(frozen=True)
class StyleContent:
    """Invariant content and domain-dependent style, mixed by orthogonal matrices with leaky ReLUs between.

    Content ~ N(0, 1) in every domain; style | u ~ N(mean, variance), mean ~ U(-4, 4), variance ~ U(0.01, 1). Every latent is a twin
    of every other, and the mixing has kinks: theory that needs second derivatives does not cover it.
    """

    domains: int = field(5, help="number of domains", low=1, high=500)
    n_samples: int = field(10_000, help="training points over all domains", low=500, high=10_000_000)
    n_content: int = field(2, help="number of content latents", low=0, high=50)
    n_style: int = field(2, help="number of style latents", low=0, high=50)
    layers: int = field(2, help="linear layers of the mixing; 1 is linear", low=1, high=20)
    noise: float = field(0.0, help="standard deviation of the observation noise", low=0, high=10)

    def __post_init__(self):
        if self.n_content + self.n_style == 0:
            raise UsageError("n_content and n_style are both 0: there would be no latent")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Gives (n_observed, n_latents, number of domains), which is known without generating."""
        n_latents = self.n_content + self.n_style
        return n_latents, n_latents, self.domains

    def generate(self, seed: Seed) -> Instance:
        """Returns the instance of one data seed."""
        mixing, sources = self.draw_mixing(seed), self.draw_sources(seed)
        parts = splits.draw(seed, SAMPLE, SHUFFLE, self.n_samples, sources, mixing, self.noise)
        return Instance(*parts, mixing.support, self.domains, sources, mixing)

    def draw_sources(self, seed: Seed) -> latents.Sources:
        """Returns the latents' distribution in every domain, content first; each domain has its own stream."""
        draws = np.stack([stream(seed, DOMAIN, u).random((2, self.n_style)) for u in range(self.domains)])
        mean = MEANS[0] + (MEANS[1] - MEANS[0]) * draws[:, 0]
        std = np.sqrt(VARIANCES[0] + (VARIANCES[1] - VARIANCES[0]) * draws[:, 1])
        content = np.zeros((self.domains, self.n_content))
        mean, std = np.concatenate([content, mean], axis=1), np.concatenate([content + 1, std], axis=1)
        return latents.Sources("gaussian", mean, std, np.zeros_like(mean))

    def draw_mixing(self, seed: Seed) -> mixings.LayeredMixing:
        """Returns a mixing whose layers are independent orthogonal matrices."""
        n, rng = self.n_content + self.n_style, stream(seed, MIXING)
        matrices = [stats.ortho_group.rvs(n, random_state=rng) if n > 1 else np.eye(1) for _ in range(self.layers)]
        return mixings.LayeredMixing(np.stack(matrices), leaky_relu=True)
