"""Gaussian sources that change across domains, mixed by a smooth network with a sparse support.

The two assumptions are two dials: `domains` (how much changes) and `violation` / `twins` (how far the mixing is from structurally sparse).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets import Instance, Split, field, register, stream
from datasets import support as supports
from registry import UsageError

N_VALIDATION = N_TEST = 2000
N_HIDDEN = 8  # hidden units of each observed variable's network
N_REFERENCE = 500  # points at which a mixing is standardised and checked
MIN_EDGE = 0.2  # least root-mean-square of dx_k/dz_i over an edge, both standardised
MIN_SINGULAR = 0.1  # least singular value of the Jacobian, both standardised
MIN_STRETCH = 0.05  # least |x - x'| / |z - z'| over pairs of reference points, both standardised
MAX_DRAWS = 200
MEAN_RANGE = 2.0  # domain means are uniform in [-2, 2]
SCALE_RANGE = 2.0  # domain scales are log-uniform in [1/2, 2]
LATENT_STD = float(np.sqrt(MEAN_RANGE**2 / 3 + (SCALE_RANGE**2 - SCALE_RANGE**-2) / (4 * np.log(SCALE_RANGE))))

# Independent random streams below a data seed.
STRUCTURE, MIXING, REFERENCE, DOMAIN, SAMPLE, SHUFFLE = range(6)


@register("sparse-mixing", source="this project, after Zheng, Ng & Zhang 2022 and Li et al. 2025")
@dataclass(frozen=True)
class SparseMixing:
    """Gaussian latents whose mean and scale change with the domain, mixed by a sparse smooth network.

    z_i | u ~ N(mu_i(u), sigma_i(u)^2), mu ~ U(-2, 2), log sigma ~ U(-log 2, log 2), every domain drawn alike.
    x_k = a_k.z_pa(k) + nonlinearity * (network of z_pa(k) with 8 tanh units) + noise, pa(k) the parents of x_k; the network
    has the root-mean-square of the linear part, and x_k has unit variance, over a reference population that does not depend on
    the dials. A draw is repeated until every edge has a minimum strength and the mixing is injective by a margin.

    Along `domains` a seed keeps its mixing and its first domains; along `violation` its sources, its weights where no redraw
    was needed, and the support up to closure.
    """

    domains: int = field(9, help="number of domains", low=1, high=500)
    violation: float = field(0.0, help="fraction of latents with a nonempty shadow", low=0, high=1)
    twins: float | None = field(
        None, help="fraction of latents with identical children; none: the fewest", low=0, high=1
    )
    n_latents: int = field(4, help="number of latents", low=1)
    n_observed: int = field(8, help="number of observed variables, at least n_latents", low=1)
    n_samples: int = field(10_000, help="training points over all domains", low=100, high=10_000_000)
    density: float = field(
        0.5, help="further edges: 0 the sparsest support, 1 the densest with these shadows", low=0, high=1
    )
    nonlinearity: float = field(1.0, help="size of the nonlinear part relative to the linear part; 0 is linear", low=0)
    noise: float = field(
        0.05, help="standard deviation of the observation noise; observed variables have about 1", low=0
    )

    def __post_init__(self):
        supports.counts(self.n_latents, self.violation, self.twins)
        if self.n_observed < self.n_latents:
            raise UsageError(f"n_observed={self.n_observed} must be at least n_latents={self.n_latents}")
        if self.n_samples < self.domains:
            raise UsageError(f"n_samples={self.n_samples} is less than one point for each of domains={self.domains}")

    @staticmethod
    def default_grid(fields: dict[str, Any]) -> dict[str, list[Any]]:
        """Axes of a run that names none: no violation, and half of the latents (rounded down) with a strict shadow."""
        n_latents = fields["n_latents"]
        return {"violation": sorted({0.0, n_latents // 2 / n_latents})}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_observed, n_latents, number of domains), known without generating."""
        return self.n_observed, self.n_latents, self.domains

    def generate(self, seed: np.random.SeedSequence) -> Instance:
        """The instance of one data seed. Raises UsageError if no mixing met the margins in MAX_DRAWS draws."""
        mixing = self.mixing(seed)
        means, scales = self.sources(seed)
        train, validation, test = (
            self._split(seed, index, size, means, scales, mixing)
            for index, size in enumerate((self.n_samples, N_VALIDATION, N_TEST))
        )
        return Instance(train, validation, test, mixing.support, self.domains)

    def sources(self, seed: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of the latents, each (domains, n_latents)."""
        draws = np.stack([stream(seed, DOMAIN, u).uniform(-1, 1, (2, self.n_latents)) for u in range(self.domains)])
        return MEAN_RANGE * draws[:, 0], SCALE_RANGE ** draws[:, 1]

    def mixing(self, seed: np.random.SeedSequence) -> Mixing:
        """The first drawn mixing that meets the margins."""
        rng = stream(seed, STRUCTURE)
        violating, twin = supports.counts(self.n_latents, self.violation, self.twins)
        shadow = supports.preorder(self.n_latents, violating, twin, rng.permutation(self.n_latents))
        support = supports.build(shadow, self.n_observed, self.density, rng)
        achieved = supports.violation(support) * self.n_latents, supports.twins(support) * self.n_latents
        if not np.allclose(achieved, (violating, twin)):
            raise RuntimeError(f"asked for {violating} violating latents and {twin} twins, built {achieved}")
        reference = stream(seed, REFERENCE).normal(size=(N_REFERENCE, self.n_latents)) * LATENT_STD
        for attempt in range(MAX_DRAWS):
            mixing = draw_mixing(support, self.nonlinearity, reference, stream(seed, MIXING, attempt))
            if is_well_posed(mixing, reference):
                return mixing
        raise UsageError(
            f"no injective mixing in {MAX_DRAWS} draws for {self}; try fewer latents, more observed variables, less nonlinearity"
        )

    def _split(self, seed, index, size, means, scales, mixing) -> Split:
        sizes = np.diff(np.arange(self.domains + 1) * size // self.domains)
        domains = np.repeat(np.arange(self.domains), sizes)
        width = self.n_latents + self.n_observed
        draws = np.concatenate(
            [stream(seed, SAMPLE, index, u).normal(size=(count, width)) for u, count in enumerate(sizes)]
        )
        order = stream(seed, SHUFFLE, index).permutation(size)
        domains, draws = domains[order], draws[order]
        z = means[domains] + scales[domains] * draws[:, : self.n_latents]
        x = mixing(z) + self.noise * draws[:, self.n_latents :]
        return Split(x.astype(np.float32), domains.astype(np.int64), z.astype(np.float32))


@dataclass(frozen=True)
class Mixing:
    """x = g(z): per observed variable a linear part and a network of one hidden tanh layer, on z / LATENT_STD."""

    support: np.ndarray  # (m, n)
    linear: np.ndarray  # (m, n)
    inner: np.ndarray  # (m, hidden, n)
    bias: np.ndarray  # (m, hidden)
    outer: np.ndarray  # (m, hidden)
    shift: np.ndarray  # (m,)
    scale: np.ndarray  # (m,)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Observed variables (n_samples, m) without noise, from latents (n_samples, n)."""
        return (self.linear_part(z) + self.network_part(z) - self.shift) / self.scale

    def linear_part(self, z: np.ndarray) -> np.ndarray:
        return z / LATENT_STD @ self.linear.T

    def network_part(self, z: np.ndarray) -> np.ndarray:
        hidden = np.tanh(np.einsum("khi,ni->nkh", self.inner, z / LATENT_STD) + self.bias)
        return np.einsum("nkh,kh->nk", hidden, self.outer)

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """dx_k/dz_i, (n_samples, m, n), in closed form."""
        hidden = np.tanh(np.einsum("khi,ni->nkh", self.inner, z / LATENT_STD) + self.bias)
        network = np.einsum("nkh,kh,khi->nki", 1 - hidden**2, self.outer, self.inner)
        return (self.linear + network) / (LATENT_STD * self.scale[:, None])


def draw_mixing(support: np.ndarray, nonlinearity: float, reference: np.ndarray, rng: np.random.Generator) -> Mixing:
    """Random weights on `support`, standardised over `reference` (n_samples, n_latents).

    The draws do not depend on the support, so that supports that share a row share its function.
    """
    m, n = support.shape
    linear = rng.uniform(0.5, 1.5, (m, n)) * rng.choice([-1, 1], (m, n)) * support
    inner = rng.normal(size=(m, N_HIDDEN, n)) * support[:, None, :] / np.sqrt(support.sum(axis=1))[:, None, None] * 1.5
    bias = rng.normal(size=(m, N_HIDDEN))
    outer = rng.normal(size=(m, N_HIDDEN))
    raw = Mixing(support, linear, inner, bias, outer, np.zeros(m), np.ones(m))
    outer = (
        outer
        * nonlinearity
        * raw.linear_part(reference).std(axis=0)[:, None]
        / raw.network_part(reference).std(axis=0)[:, None]
    )
    raw = Mixing(support, linear, inner, bias, outer, np.zeros(m), np.ones(m))
    x = raw(reference)
    return Mixing(support, linear, inner, bias, outer, x.mean(axis=0), x.std(axis=0))


def is_well_posed(mixing: Mixing, reference: np.ndarray) -> bool:
    """Whether every edge has its minimum strength and the mixing is injective by a margin on `reference`, locally and globally."""
    jacobian = mixing.jacobian(reference) * LATENT_STD
    strength = np.sqrt((jacobian**2).mean(axis=0))
    if strength[mixing.support].min() < MIN_EDGE:
        return False
    if np.linalg.svd(jacobian, compute_uv=False).min() < MIN_SINGULAR:
        return False
    x, z = mixing(reference), reference / LATENT_STD
    first, second = np.triu_indices(len(z), k=1)
    stretch = np.linalg.norm(x[first] - x[second], axis=1) / np.linalg.norm(z[first] - z[second], axis=1)
    return bool(stretch.min() >= MIN_STRETCH)
