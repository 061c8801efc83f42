"""Latents whose distribution changes with the domain, how they are drawn, and the derivatives of their log-density.

z_i | u = mean_i(u) + std_i(u) * e_i, with e_i from a family of mean 0 and variance 1 that may have a shape. All in closed form, so
that the oracle's rank conditions rest on no estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.registry import UsageError, lazy_module
from datasets import Seed, stream

special = lazy_module("scipy.special")

CHANGES = ("both", "mean", "scale", "shape", "none")
MEAN_RANGE = 2.0  # at change strength 1, domain means are uniform in [-2, 2]
SCALE_RANGE = 2.0  # and domain scales log-uniform in [1/2, 2]
HARMONICS = 4  # half periods over [0, 1], at most, of what drifts with u
CONCENTRATION = 0.2  # of the weights with which capped domains average the first ones: low, else variances would shrink

# Standard deviation of a latent over all domains, at any change strength.
MEAN_VARIANCE = MEAN_RANGE**2 / 3
LATENT_STD = float(np.sqrt(MEAN_VARIANCE + (SCALE_RANGE**2 - SCALE_RANGE**-2) / (4 * np.log(SCALE_RANGE))))


@dataclass(frozen=True)
class Family:
    """A density of mean 0 and variance 1 with a shape `a`; arrays broadcast, e (n_samples, n_latents) and a (n_latents,).

    `slope` and `curvature` are the first two derivatives of its logarithm. `quantile` maps a standard normal number to e, by both
    distribution functions, so that one draw serves every family.
    """

    slope: Callable[[np.ndarray, np.ndarray], np.ndarray]
    curvature: Callable[[np.ndarray, np.ndarray], np.ndarray]
    quantile: Callable[[np.ndarray, np.ndarray], np.ndarray]
    shape: float = 0.0  # of a source whose shape does not change
    shapes: tuple[float, float] | None = None  # range of one whose shape does; none: the family has no shape
    smooth: bool = True  # twice differentiable everywhere


def _gaussian() -> Family:
    return Family(lambda e, a: -e, lambda e, a: np.full_like(e, -1.0), lambda g, a: g)


def _laplace() -> Family:
    return Family(
        lambda e, a: -np.sqrt(2) * np.sign(e),
        lambda e, a: np.zeros_like(e),
        lambda g, a: -np.sign(g) * (np.log(2) + special.log_ndtr(-np.abs(g))) / np.sqrt(2),
        smooth=False,
    )


def _student_t() -> Family:
    """The shape is the number of degrees of freedom."""

    def scaled(e, a):
        return e * np.sqrt(a / (a - 2))

    return Family(
        lambda e, a: -(a + 1) * scaled(e, a) / (a + scaled(e, a) ** 2) * np.sqrt(a / (a - 2)),
        lambda e, a: -(a + 1) * (a - scaled(e, a) ** 2) / (a + scaled(e, a) ** 2) ** 2 * a / (a - 2),
        lambda g, a: -np.sign(g) * special.stdtrit(a, special.ndtr(-np.abs(g))) / np.sqrt(a / (a - 2)),
        shape=5.0,
        shapes=(3.0, 30.0),
    )


def _uniform() -> Family:
    """A uniform number on [-w, w] plus a logistic one of scale a * w: flat with smooth edges; the shape is a."""

    def edges(e, a):
        half_width = np.sqrt(3 / (1 + (np.pi * a) ** 2))
        return (e + half_width) / (2 * a * half_width), (e - half_width) / (2 * a * half_width), a * half_width

    def slope(e, a):
        upper, lower, scale = edges(e, a)
        return -(np.tanh(upper) + np.tanh(lower)) / (2 * scale)

    def curvature(e, a):
        upper, lower, scale = edges(e, a)
        return -(2 - np.tanh(upper) ** 2 - np.tanh(lower) ** 2) / (4 * scale**2)

    def distribution(e, a):
        upper, lower, _ = edges(e, a)
        return (np.logaddexp(0, 2 * upper) - np.logaddexp(0, 2 * lower)) * a / 2

    return Family(slope, curvature, _by_bisection(distribution), shape=0.1, shapes=(0.05, 0.4))


def _mixture() -> Family:
    """Two normal densities of equal weight and width, centred at -a and a."""

    def distribution(e, a):
        std = np.sqrt(1 - a**2)
        return (special.ndtr((e - a) / std) + special.ndtr((e + a) / std)) / 2

    return Family(
        lambda e, a: (a * np.tanh(a * e / (1 - a**2)) - e) / (1 - a**2),
        lambda e, a: (a**2 / (1 - a**2) * (1 - np.tanh(a * e / (1 - a**2)) ** 2) - 1) / (1 - a**2),
        _by_bisection(distribution),
        shape=0.85,
        shapes=(0.5, 0.95),
    )


def _skewed() -> Family:
    """A skew-normal density (Azzalini 1985); the shape is its slant."""

    def standard(e, a):
        mean = a / np.sqrt(1 + a**2) * np.sqrt(2 / np.pi)
        std = np.sqrt(1 - mean**2)
        y = mean + std * e
        hazard = np.exp(-0.5 * (a * y) ** 2 - 0.5 * np.log(2 * np.pi) - special.log_ndtr(a * y))
        return y, std, hazard

    def slope(e, a):
        y, std, hazard = standard(e, a)
        return std * (a * hazard - y)

    def curvature(e, a):
        y, std, hazard = standard(e, a)
        return -(std**2) * (1 + a**2 * hazard * (a * y + hazard))

    def distribution(e, a):
        y = standard(e, a)[0]
        return special.ndtr(y) - 2 * special.owens_t(y, a)

    return Family(slope, curvature, _by_bisection(distribution), shape=4.0, shapes=(-6.0, 6.0))


def _by_bisection(distribution: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable:
    """Returns the quantile of a distribution function that has no closed inverse, to the last digits, from standard normal numbers."""

    def quantile(g: np.ndarray, a: np.ndarray) -> np.ndarray:
        target = special.ndtr(g)
        low, high = np.full_like(g, -20.0), np.full_like(g, 20.0)
        for _ in range(50):
            middle = (low + high) / 2
            below = distribution(middle, a) < target
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    return quantile


FAMILIES = {
    "gaussian": _gaussian(),
    "laplace": _laplace(),
    "student-t": _student_t(),
    "uniform": _uniform(),
    "mixture": _mixture(),
    "skewed": _skewed(),
}


@dataclass(frozen=True)
class Sources:
    """The distribution of the latents in every domain: `mean`, `std` and `shape`, each (n_domains, n_latents).

    `dependence` is the correlation that any two latents share within a domain (of the normal numbers behind them).
    """

    family: str
    mean: np.ndarray
    std: np.ndarray
    shape: np.ndarray
    dependence: float = 0.0

    @property
    def spread(self) -> np.ndarray:
        """Gives the standard deviation of each latent over all domains, (n_latents,)."""
        return np.sqrt((self.std**2).mean(axis=0) + self.mean.var(axis=0))

    def sample(self, domain: int, normal: np.ndarray) -> np.ndarray:
        """Returns latents (n_samples, n_latents) of one domain, made from as many standard normal numbers."""
        if self.dependence:
            n = normal.shape[1]
            normal = normal @ np.linalg.cholesky(np.eye(n) + self.dependence * (1 - np.eye(n))).T
        e = FAMILIES[self.family].quantile(normal, self.shape[domain])
        return self.mean[domain] + self.std[domain] * e

    def derivatives(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns two derivatives of log p(z_i | u) in z_i, each (n_domains, n_samples, n_latents), at `z` (n_samples, n_latents)."""
        family = FAMILIES[self.family]
        mean, std, shape = (value[:, None] for value in (self.mean, self.std, self.shape))
        e = (z - mean) / std
        return family.slope(e, shape) / std, family.curvature(e, shape) / std**2


def check(family: str, changes: str, rank: int | None) -> None:
    """Raises UsageError for changes that a family cannot make."""
    if changes == "shape" and FAMILIES[family].shapes is None:
        shaped = ", ".join(name for name, other in FAMILIES.items() if other.shapes)
        raise UsageError(f"{family} sources have no shape that could change; choose sources from {shaped}")
    if rank is not None and family != "gaussian":
        raise UsageError(f"rank caps the changes of gaussian sources only, and sources={family}")


def draw_sources(
    seed: Seed,
    key: int,
    n_domains: int,
    changing: np.ndarray,
    family: str = "gaussian",
    changes: str = "both",
    strength: float = 1.0,
    rank: int | None = None,
    dependence: float = 0.0,
    u: np.ndarray | None = None,
) -> Sources:
    """Returns sources whose latents change where the boolean `changing` (n_latents,) says so; each domain has its own stream below `key`.

    Means are uniform in strength * [-2, 2], scales log-uniform in 2^(strength * [-1, 1]), times a common factor that keeps a
    latent's variance over all domains as it is at any strength. A latent that does not change has that variance and mean 0.

    With `rank`, domains beyond the first rank + 1 take their natural parameters (1/std^2, mean/std^2) as a random average of theirs,
    so that the changes span `rank` directions at most, however many domains there are.

    With `u` (n_domains,), numbers in [0, 1], domains are not drawn apart: their means and scales are smooth functions of u, drawn once below
    `key`. At each u these have the distribution that those of a domain have, so that all of the above but `rank` holds.
    """
    check(family, changes, rank)
    n = len(changing)
    generators = [stream(seed, key, domain) for domain in range(n_domains if u is None else 0)]
    if u is None:
        where, scale, form = np.stack([rng.uniform(-1, 1, (3, n)) for rng in generators], axis=1)
    else:
        where, scale, form = _smooth(stream(seed, key), u, (3, n)).swapaxes(0, 1)
    mean_strength = strength if changes in ("both", "mean") else 0.0
    scale_strength = strength if changes in ("both", "scale") else 0.0
    spread = SCALE_RANGE**scale_strength
    pooled = 1.0 if scale_strength == 0 else (spread**2 - spread**-2) / (4 * np.log(spread))
    factor = np.sqrt((LATENT_STD**2 - MEAN_VARIANCE * mean_strength**2) / pooled)
    mean = np.where(changing, MEAN_RANGE * mean_strength * where, 0.0)
    std = np.where(changing, factor * spread**scale, LATENT_STD)
    shape = np.full((n_domains, n), FAMILIES[family].shape)
    shapes = FAMILIES[family].shapes
    if changes == "shape" and shapes:
        low, high = shapes
        shape = np.where(changing, shape + strength * ((low + high) / 2 + (high - low) / 2 * form - shape), shape)
    if rank is not None:
        precision, location = std**-2, mean * std**-2
        for domain in range(rank + 1, n_domains):
            weights = generators[domain].dirichlet(np.full(rank + 1, CONCENTRATION))
            precision[domain], location[domain] = weights @ precision[: rank + 1], weights @ location[: rank + 1]
        # What does not change stays as it is to the last digit.
        mean = np.where(np.ptp(mean, axis=0) == 0, mean, location / precision)
        std = np.where(np.ptp(std, axis=0) == 0, std, precision**-0.5)
    return Sources(family, mean, std, shape, dependence)


def _smooth(rng: np.random.Generator, u: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns smooth random functions at `u` (n,), (n, *shape), that are independent and each uniform on [-1, 1] at every u.

    A sum of HARMONICS cosines and sines with normal weights is a Gaussian process of variance 1; its distribution function makes it uniform.
    """
    angles = np.pi * np.arange(1, HARMONICS + 1) * u[:, None]
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    weights = rng.normal(size=(2 * HARMONICS, *shape)) / np.sqrt(HARMONICS)
    return 2 * special.ndtr(np.tensordot(waves, weights, axes=1)) - 1
