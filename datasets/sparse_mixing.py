"""The data set `sparse-mixing`: latents that change across domains, mixed on a sparse support. Both assumptions are exact dials."""

from __future__ import annotations

from dataclasses import dataclass

from bench.registry import UsageError
from datasets import Seed, field, mixings, register
from datasets.dials import MIXING, REFERENCE, Dials


@register("sparse-mixing", source="this project, after Zheng, Ng & Zhang 2022 and Li et al. 2025")
@dataclass(frozen=True)
class SparseMixing(Dials):
    """Latents whose distribution changes with the domain, mixed by a sparse smooth network.

    z_i | u = mean_i(u) + std_i(u) * e_i, mean ~ U(-2, 2), log std ~ U(-log 2, log 2) at change strength 1, every domain drawn alike.
    x_k = a_k.z_pa(k) + nonlinearity * (network of z_pa(k) with 8 tanh units) + noise, pa(k) the parents of x_k; the network
    has the root-mean-square of the linear part, and x_k has unit variance, over a reference population that does not depend on
    the dials. A draw is repeated until every edge has a minimum strength and the mixing is injective by a margin.

    With `drift` there is an auxiliary variable u beside the domains: so many numbers, evenly in [0, 1], each of as many points, along which
    means and scales drift smoothly; at each u they are distributed as those of a domain. The domains are then equal parts of [0, 1]:
    domains=1 leaves u alone, give_u=false the parts alone, within which the latents depend on each other through u.

    Along `domains` a seed keeps its mixing and its first domains; along `violation` its sources, its shadows, and the weights of
    edges that are there at both values: one draw is chosen that meets the margins at violations 0, 1/4, 1/2, 3/4 and 1.
    """

    n_observed: int = field(8, help="number of observed variables, at least n_latents", low=1, high=1000)
    mixing: str = field("masked-mlp", help="kind of mixing function", choices=mixings.KINDS)
    nonlinearity: float = field(
        1.0, help="size of the nonlinear part relative to the linear part; 0 is linear", low=0, high=10
    )
    noise: float = field(
        0.05, help="standard deviation of the observation noise; observed variables have about 1", low=0, high=10
    )

    def __post_init__(self):
        super().__post_init__()
        if self.n_observed < self.n_latents:
            raise UsageError(f"n_observed={self.n_observed} must be at least n_latents={self.n_latents}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Gives (n_observed, n_latents, number of domains), which is known without generating."""
        return self.n_observed, self.n_latents, self.domains

    @property
    def n_rows(self) -> int:
        return self.n_observed

    def draw_mixing(self, seed: Seed) -> mixings.Mixing:
        """Returns the first drawn mixing that meets the margins, on the supports of this seed along `violation` too."""
        ladder = [each.draw_support(seed) for each in self.along_violation()]
        return mixings.first_well_posed(
            self.draw_support(seed), self.mixing, self.nonlinearity, seed, REFERENCE, MIXING, ladder
        )
