"""Mixings x = g(z) on a given support: smooth, standardised, with a Jacobian in closed form, checked for injectivity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from bench.registry import UsageError, lazy_module
from datasets import Seed, stream
from datasets.latents import LATENT_STD

distance = lazy_module("scipy.spatial.distance")

KINDS = ("masked-mlp", "linear", "additive", "polynomial")
N_HIDDEN = 8  # hidden units of each observed variable's network
N_REFERENCE = 500  # points at which a mixing is standardised and checked
MIN_EDGE = (
    0.25  # least root-mean-square of dx_k/dz_i over an edge, both standardised, in parts of an equal share of x_k
)
MIN_SINGULAR = 0.1  # least singular value of the Jacobian, both standardised
MIN_STRETCH = 0.05  # least |x - x'| / |z - z'| over pairs of reference points, both standardised
MAX_DRAWS = 200
MAX_SHARED_DRAWS = 100  # of those, how many are tried for one that suits several supports


class MixingFunction(Protocol):
    """What an instance knows of x = g(z), whatever made it: `support` (n_observed, n_latents), values and derivatives."""

    @property
    def support(self) -> np.ndarray: ...

    @property
    def linear_only(self) -> bool: ...

    @property
    def smooth(self) -> bool:
        """Says whether it is twice differentiable."""

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Returns observed variables (n_samples, n_observed) without noise, from latents (n_samples, n_latents)."""

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """Returns dx_k/dz_i, (n_samples, n_observed, n_latents)."""


Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class Mixing:
    """x = g(z): per observed variable a linear part and a network of one hidden layer, on z / LATENT_STD."""

    support: np.ndarray  # (n_observed, n_latents)
    linear: np.ndarray  # (n_observed, n_latents)
    inner: np.ndarray  # (n_observed, n_hidden, n_latents)
    bias: np.ndarray  # (n_observed, n_hidden)
    outer: np.ndarray  # (n_observed, n_hidden)
    shift: np.ndarray  # (n_observed,)
    scale: np.ndarray  # (n_observed,)
    polynomial: bool = False  # hidden units square and cube; else tanh
    smooth = True  # twice differentiable

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Returns observed variables (n_samples, n_observed) without noise, from latents (n_samples, n_latents)."""
        return (self.linear_part(z) + self.network_part(z) - self.shift) / self.scale

    @property
    def linear_only(self) -> bool:
        return not self.outer.any()

    def linear_part(self, z: np.ndarray) -> np.ndarray:
        return z / LATENT_STD @ self.linear.T

    def network_part(self, z: np.ndarray) -> np.ndarray:
        hidden = self._hidden(z)
        activation = hidden**2 / 4 + hidden**3 / 12 if self.polynomial else np.tanh(hidden)
        return np.matmul(self.outer[:, None], activation)[:, 0].T

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """Returns dx_k/dz_i, (n_samples, n_observed, n_latents), in closed form."""
        hidden = self._hidden(z)
        slope = hidden / 2 + hidden**2 / 4 if self.polynomial else 1 - np.tanh(hidden) ** 2
        network = np.matmul((slope * self.outer[..., None]).transpose(0, 2, 1), self.inner).transpose(1, 0, 2)
        return (self.linear + network) / (LATENT_STD * self.scale[:, None])

    def _hidden(self, z: np.ndarray) -> np.ndarray:
        """Returns what the hidden units sum up, (n_observed, n_hidden, n_samples)."""
        n_observed, n_hidden, n_latents = self.inner.shape
        sums = self.inner.reshape(-1, n_latents) @ (z / LATENT_STD).T
        sums += self.bias.reshape(-1, 1)
        return sums.reshape(n_observed, n_hidden, len(z))


@dataclass(frozen=True)
class LayeredMixing:
    """x = A_L f(... f(A_1 z)): square matrices with an invertible activation between, and none after the last; dense."""

    matrices: np.ndarray  # (n_layers, n, n)
    leaky_relu: bool = False  # else tanh(a) + a / 10
    slope: float = 0.2  # of leaky ReLU below 0

    @property
    def support(self) -> np.ndarray:
        return np.ones(self.matrices.shape[1:], dtype=bool)

    @property
    def linear_only(self) -> bool:
        return len(self.matrices) == 1

    @property
    def smooth(self) -> bool:
        return self.linear_only or not self.leaky_relu

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Returns observed variables (n_samples, n) without noise, from latents (n_samples, n)."""
        for matrix in self.matrices[:-1]:
            z = self._activated(z @ matrix.T)
        return z @ self.matrices[-1].T

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """Returns dx_k/dz_i, (n_samples, n, n), in closed form."""
        product = np.broadcast_to(np.eye(z.shape[1]), (len(z), *self.matrices.shape[1:]))
        for matrix in self.matrices[:-1]:
            a = z @ matrix.T
            slope = np.where(a > 0, 1.0, self.slope) if self.leaky_relu else 1.1 - np.tanh(a) ** 2
            product = slope[..., None] * np.matmul(matrix, product)
            z = self._activated(a)
        return np.matmul(self.matrices[-1], product)

    def _activated(self, a: np.ndarray) -> np.ndarray:
        return np.where(a > 0, a, self.slope * a) if self.leaky_relu else np.tanh(a) + a / 10


def draw_mixing(
    support: np.ndarray, kind: str, nonlinearity: float, reference: np.ndarray, rng: np.random.Generator
) -> Mixing:
    """Draws random weights on `support`, standardised over `reference` (n_samples, n_latents).

    `nonlinearity` is the root-mean-square of the network's part relative to the linear part. The draws do not depend on the
    support: an edge that two supports share has the same linear weight in both, and the same inner weights up to the number of parents,
    and a row that they share is the same function.
    """
    m, n = support.shape
    linear = rng.uniform(0.5, 1.5, (m, n)) * rng.choice([-1, 1], (m, n)) * support
    if kind == "additive":
        n_hidden = N_HIDDEN * n
        inner = rng.normal(size=(m, n, N_HIDDEN))[..., None] * np.eye(n)[:, None] * 1.5
        inner = inner.reshape(m, n_hidden, n) * support[:, None, :]
    else:
        n_hidden = N_HIDDEN
        inner = rng.normal(size=(m, n_hidden, n)) * support[:, None, :]
        inner = inner / np.sqrt(support.sum(axis=1))[:, None, None] * 1.5
    bias = rng.normal(size=(m, n_hidden))
    outer = rng.normal(size=(m, n_hidden))
    # A row is monotone in a latent that has no other child: no other observation could tell its branches apart.
    only = support & (support.sum(axis=0) == 1)
    direction = np.sign(np.einsum("khi,ki,ki->kh", inner, linear, only))
    outer = np.where(direction == 0, outer, np.abs(outer) * direction)
    polynomial, zeros, ones = kind == "polynomial", np.zeros(m), np.ones(m)
    raw = Mixing(support, linear, inner, bias, outer, zeros, ones, polynomial)
    linear_part, network_part = raw.linear_part(reference), raw.network_part(reference)
    size = (0.0 if kind == "linear" else nonlinearity) * linear_part.std(axis=0) / network_part.std(axis=0)
    x = linear_part + network_part * size
    return Mixing(support, linear, inner, bias, outer * size[:, None], x.mean(axis=0), x.std(axis=0), polynomial)


def first_well_posed(
    support: np.ndarray,
    kind: str,
    nonlinearity: float,
    seed: Seed,
    reference_key: int,
    key: int,
    shared_with: Sequence[np.ndarray] = (),
) -> Mixing:
    """Returns the first of at most MAX_DRAWS mixings that meets the margins, as `first_drawn`. Raises UsageError if none does."""
    reference = stream(seed, reference_key).normal(size=(N_REFERENCE, support.shape[1])) * LATENT_STD

    def drawn(support: np.ndarray, attempt: int) -> Mixing | None:
        mixing = draw_mixing(support, kind, nonlinearity, reference, stream(seed, key, attempt))
        return mixing if is_well_posed(mixing, reference) else None

    mixing = first_drawn(drawn, support, shared_with)
    if mixing is None:
        raise UsageError(
            f"no injective mixing in {MAX_DRAWS} draws for mixing={kind}, nonlinearity={nonlinearity:g}, n_latents={support.shape[1]}, "
            f"n_observed={support.shape[0]}; try less nonlinearity, more observed variables or fewer latents"
        )
    return mixing


def first_drawn(
    drawn: Callable[[np.ndarray, int], Drawn | None], support: np.ndarray, shared_with: Sequence[np.ndarray] = ()
) -> Drawn | None:
    """Returns the first of at most MAX_DRAWS mixings `drawn(support, attempt)` that meets the margins, and so is not None; None if none does.

    `shared_with` are supports of the same shape. The search starts at the first of MAX_SHARED_DRAWS draws that meets the margins on all
    of these, where there is one: a support that is among them, and any other of them asked for with the same seed, then has the same draw.
    """
    shared = range(MAX_SHARED_DRAWS) if len(shared_with) else ()
    start = next((attempt for attempt in shared if all(drawn(other, attempt) for other in shared_with)), 0)
    found = (drawn(support, attempt) for attempt in range(start, start + MAX_DRAWS))
    return next((mixing for mixing in found if mixing is not None), None)


def is_well_posed(mixing: Mixing, reference: np.ndarray) -> bool:
    """Says whether every edge has its minimum strength and the mixing is injective by a margin on `reference`, locally and globally."""
    jacobian = mixing.jacobian(reference) * LATENT_STD
    if edge_strength(mixing.support, jacobian).min() < MIN_EDGE:
        return False
    if least_singular_value(jacobian) < MIN_SINGULAR:
        return False
    return least_stretch(mixing(reference), reference / LATENT_STD) >= MIN_STRETCH


def edge_strength(support: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
    """Returns the root-mean-square over each edge of `jacobian` (n_samples, n_observed, n_latents), in parts of 1 / sqrt(n_parents)."""
    share = np.sqrt((jacobian**2).mean(axis=0) * support.sum(axis=1, keepdims=True))
    return share[support]


def least_singular_value(jacobian: np.ndarray) -> float:
    """Returns the smallest singular value of any of `jacobian` (n_samples, n_observed, n_latents)."""
    gram = np.matmul(jacobian.transpose(0, 2, 1), jacobian)
    return float(np.sqrt(max(np.linalg.eigvalsh(gram)[:, 0].min(), 0.0)))


def least_stretch(x: np.ndarray, z: np.ndarray) -> float:
    """Returns the least |x - x'| / |z - z'| over pairs of points: 0 where two latents give one observation."""
    return float((distance.pdist(x) / distance.pdist(z)).min())
