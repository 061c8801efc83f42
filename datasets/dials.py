"""The dials of both assumptions, shared by the data sets whose mixing is drawn on a sparse support.

How the latents change with the domain, and how far the mixing violates sparsity, are fields here. A data set adds what its observed variables are.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from bench.registry import UsageError
from datasets import Instance, Seed, Split, field, latents, splits, stream
from datasets import support as supports
from datasets.mixings import MixingFunction

# Independent random streams below a data seed.
STRUCTURE, MIXING, REFERENCE, DOMAIN, SAMPLE, SHUFFLE, CHANGING = range(7)


@dataclass(frozen=True)
class Dials:
    """Fields of the latents and of the support. A subclass defines `n_rows` and `draw_mixing(seed)`, and `image` where it draws any.

    Along `domains` a seed keeps its mixing and its first domains, along `violation` its sources and its shadows.
    """

    stratum_of: ClassVar[tuple[str, ...]] = ("violation", "twins")  # the dials that `stratum` sums up

    domains: int = field(9, help="number of domains", low=1, high=500)
    violation: float = field(0.0, help="fraction of latents with a nonempty shadow", low=0, high=1)
    twins: float | None = field(
        None, help="fraction of latents with identical children; none: the fewest", low=0, high=1
    )
    shadow_size: int | None = field(
        None, help="latents in the shadow of each violating one; none: the fewest", low=1, high=100
    )
    density: float = field(
        0.5, help="further edges: 0 the sparsest support, 1 the densest with these shadows", low=0, high=1
    )
    n_latents: int = field(4, help="number of latents", low=1, high=100)
    n_samples: int = field(10_000, help="training points over all domains", low=100, high=10_000_000)
    samples_per_domain: int | None = field(
        None, help="training points of each domain, in place of n_samples", low=1, high=1_000_000
    )
    sources: str = field("gaussian", help="family of the latents' distributions", choices=tuple(latents.FAMILIES))
    changes: str = field("both", help="what of a latent's distribution changes", choices=latents.CHANGES)
    changing: float = field(1.0, help="fraction of latents that change; the rest are invariant", low=0, high=1)
    change_strength: float = field(1.0, help="size of the changes: 0 is identical domains", low=0, high=1)
    rank: int | None = field(
        None, help="most directions in which domains differ, however many they are (gaussian sources)", low=1, high=200
    )
    drift: int | None = field(
        None,
        help="distinct values of a number u in [0, 1] with which means and scales drift smoothly; none: domains drawn apart",
        low=2,
        high=10_000,
    )
    give_u: bool = field(
        True, help="whether methods are given u where there is one, beside the domains that are parts of it"
    )
    dependence: float = field(0.0, help="correlation of any two latents within a domain", low=0, high=0.95)
    noise: float = field(0.05, help="standard deviation of the observation noise", low=0, high=10)

    def __post_init__(self):
        supports.counts(self.n_latents, self.violation, self.twins, self.shadow_size)
        supports.multiple("changing", self.changing, self.n_latents)
        latents.check(self.sources, self.changes, self.rank)
        if self.samples_per_domain is None and self.n_samples < self.domains:
            raise UsageError(f"n_samples={self.n_samples} is less than one point for each of domains={self.domains}")
        if self.drift is not None:
            self._check_drift(self.drift)

    def _check_drift(self, n: int) -> None:
        if self.rank is not None:
            raise UsageError("rank caps domains that are drawn apart; leave it out with drift")
        if self.domains > n:
            raise UsageError(
                f"domains={self.domains} are parts of the drift={n} values of u, so there can be no more of them"
            )
        if self.n_train < n:
            raise UsageError(f"{self.n_train} training points are less than one for each of the drift={n} values of u")

    @staticmethod
    def default_grid(fields: dict[str, Any]) -> list[dict[str, float]]:
        """Returns what the cells of a run that names neither dial add to `fields`: the three strata, where the fields allow them.

        Nothing violates sparsity; half of the latents do (rounded down), with the fewest twins; as many do, of which two are twins.
        Two latents are the fewest that can be twins, and the only stratum in which theory needs both assumptions is theirs.
        Where `twins` is given, the last stratum is left out.
        """
        n = fields["n_latents"]

        def is_feasible(violation: float, twins: float | None) -> bool:
            return supports.is_feasible(n, violation, twins, fields["shadow_size"])

        usual = [violation for violation in sorted({0.0, n // 2 / n}) if is_feasible(violation, fields["twins"])]
        others = [k / n for k in range(n + 1) if is_feasible(k / n, fields["twins"])]
        cells = [{"violation": violation} for violation in usual or others[:1]]
        with_twins = {"violation": max(n // 2, 2) / n, "twins": 2 / n}
        if n >= 2 and fields["twins"] is None and is_feasible(**with_twins):
            cells.append(with_twins)
        return cells

    @property
    def stratum(self) -> str:
        """Says in words how far the mixing violates sparsity: "no violation", "strict shadows 0.5", "twins 0.5", or both kinds."""
        violating, twin, _ = supports.counts(self.n_latents, self.violation, self.twins, self.shadow_size)
        kinds = {"strict shadows": violating - twin, "twins": twin}
        return ", ".join(f"{kind} {n / self.n_latents:.3g}" for kind, n in kinds.items() if n) or "no violation"

    @property
    def n_train(self) -> int:
        """Gives the number of training points."""
        return self.n_samples if self.samples_per_domain is None else self.samples_per_domain * self.domains

    @property
    def n_u(self) -> int:
        """Gives the number of columns of u, of which methods are given one or none."""
        return int(self.drift is not None and self.give_u)

    @property
    def image(self) -> tuple[int, int, int] | None:
        """Gives the shape of the images, (channels, height, width), or None where points are no images."""
        return None

    @property
    def n_rows(self) -> int:
        """Gives the number of rows of the support that is drawn."""
        raise NotImplementedError

    def draw_mixing(self, seed: Seed) -> MixingFunction:
        """Returns the mixing of one data seed."""
        raise NotImplementedError

    def generate(self, seed: Seed) -> Instance:
        """Returns the instance of one data seed. Raises UsageError if no mixing met the margins in mixings.MAX_DRAWS draws."""
        mixing, sources = self.draw_mixing(seed), self.draw_sources(seed)
        train, validation, test = splits.draw(seed, SAMPLE, SHUFFLE, self.n_train, sources, mixing, self.noise)
        if self.drift is not None:
            train, validation, test = (self._along_u(part, self.drift) for part in (train, validation, test))
        shape = self.image or ()
        return Instance(train, validation, test, mixing.support, self.domains, sources, mixing, x_shape=shape)

    def _along_u(self, part: Split, n: int) -> Split:
        """Returns a split, whose domains are the places of `n` values of u, with those values and the parts of [0, 1] that they are in."""
        u = values_of_u(n)[part.domains, None].astype(np.float32) if self.give_u else None
        # (place + 1/2) / n, as a part of `domains`, in whole numbers.
        return dataclasses.replace(part, domains=(2 * part.domains + 1) * self.domains // (2 * n), u=u)

    def draw_sources(self, seed: Seed) -> latents.Sources:
        """Returns the latents' distribution in every domain, or at every value of u."""
        n_changing = supports.multiple("changing", self.changing, self.n_latents)
        order = stream(seed, CHANGING).permutation(self.n_latents)
        changing = np.isin(np.arange(self.n_latents), order[:n_changing])
        n_distinct, u = (self.domains, None) if self.drift is None else (self.drift, values_of_u(self.drift))
        return latents.draw_sources(
            seed, DOMAIN, n_distinct, changing,
            family=self.sources, changes=self.changes, strength=self.change_strength, rank=self.rank,
            dependence=self.dependence, u=u,
        )  # fmt: skip

    def draw_support(self, seed: Seed) -> np.ndarray:
        """Returns a support (n_rows, n_latents) with exactly the shadows asked for. Raises RuntimeError if it has not."""
        rng = stream(seed, STRUCTURE)
        counts = supports.counts(self.n_latents, self.violation, self.twins, self.shadow_size)
        shadow = supports.preorder(self.n_latents, *counts, rng.permutation(self.n_latents))
        support = supports.build(shadow, self.n_rows, self.density, rng)
        if not np.array_equal(supports.shadows(support), shadow):
            raise RuntimeError(f"the support built has other shadows than those asked for: {support}")
        return support

    def along_violation(self) -> list[Self]:
        """Returns the same at those of the violations 1, 3/4, 1/2, 1/4 and 0 (down to multiples of 1/n_latents) that the other dials allow.

        The greatest, to which fewest draws of a square mixing are suited, comes first.
        """
        n = self.n_latents
        rungs = sorted({quarters * n // 4 / n for quarters in range(5)}, reverse=True)
        feasible = [rung for rung in rungs if supports.is_feasible(n, rung, self.twins, self.shadow_size)]
        return [dataclasses.replace(self, violation=rung) for rung in feasible]


def values_of_u(n: int) -> np.ndarray:
    """Returns `n` numbers evenly in [0, 1]: the middles of its equal parts."""
    return (np.arange(n) + 0.5) / n
