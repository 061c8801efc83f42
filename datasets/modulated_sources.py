"""The data set `modulated-sources`, on which iVAE was published: segments that modulate sources, and an invertible dense mixing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets import Instance, Seed, field, latents, mixings, register, splits, stream

SCALES = (0.5, 3.0)  # range of a source's standard deviation in a segment
MEANS = (-2.0, 2.0)  # range of its mean, where means change
N_CANDIDATES = 200  # matrices drawn; the first among the best-conditioned quarter is taken

# Independent random streams below a data seed.
DOMAIN, MIXING, SAMPLE, SHUFFLE = range(4)


@register("modulated-sources", source="Khemakhem et al. 2020, after Hyvarinen & Morioka 2016")
@dataclass(frozen=True)
class ModulatedSources:
    """Sources whose scales (and means, if asked) differ by segment, mixed by a dense invertible network as wide as they are many.

    z_i | u ~ mean 0 and standard deviation U(0.5, 3); x = A f(... f(A z)), `layers` times the same matrix with unit columns, f(a) =
    tanh(a) + a / 10 between. The segments are the domains. Every latent is a twin of every other: sparsity promises nothing.
    """

    domains: int = field(40, help="number of segments", low=1, high=500)
    samples_per_domain: int = field(1000, help="training points of each segment", low=3, high=1_000_000)
    n_latents: int = field(5, help="number of latents and of observed variables", low=1, high=100)
    layers: int = field(3, help="linear layers of the mixing; 1 is linear", low=1, high=20)
    sources: str = field("gaussian", help="family of the latents' distributions", choices=("gaussian", "laplace"))
    means: bool = field(False, help="whether means change too, uniform in [-2, 2]")
    noise: float = field(0.0, help="standard deviation of the observation noise", low=0, high=10)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Gives (n_observed, n_latents, number of domains), which is known without generating."""
        return self.n_latents, self.n_latents, self.domains

    def generate(self, seed: Seed) -> Instance:
        """Returns the instance of one data seed."""
        mixing, sources = self.draw_mixing(seed), self.draw_sources(seed)
        n_train = self.samples_per_domain * self.domains
        parts = splits.draw(seed, SAMPLE, SHUFFLE, n_train, sources, mixing, self.noise)
        return Instance(*parts, mixing.support, self.domains, sources, mixing)

    def draw_sources(self, seed: Seed) -> latents.Sources:
        """Returns the latents' distribution in every segment; each segment has its own stream."""
        shape = (self.domains, self.n_latents)
        draws = np.stack([stream(seed, DOMAIN, u).random((2, self.n_latents)) for u in range(self.domains)])
        std = SCALES[0] + (SCALES[1] - SCALES[0]) * draws[:, 0]
        mean = MEANS[0] + (MEANS[1] - MEANS[0]) * draws[:, 1] if self.means else np.zeros(shape)
        return latents.Sources(self.sources, mean, std, np.zeros(shape))

    def draw_mixing(self, seed: Seed) -> mixings.LayeredMixing:
        """Returns a mixing with one matrix, well-conditioned among its like, as every layer."""
        candidates = stream(seed, MIXING).uniform(-1, 1, (N_CANDIDATES, self.n_latents, self.n_latents))
        candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
        condition = np.linalg.cond(candidates)
        matrix = candidates[np.argmax(condition <= np.quantile(condition, 0.25))]
        return mixings.LayeredMixing(np.repeat(matrix[None], self.layers, axis=0))
