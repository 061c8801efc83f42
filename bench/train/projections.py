"""The linear projection of data that folds least: where the encoder of a chart can start.

A code of n numbers is lossless where the map from the data to it does not fold. An autoencoder that starts at random has folded within its
first steps on many data sets, from nearly all starts; from a projection that folds little it has little to undo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csgraph
from torch import Tensor

from methods import nets

CLOUD, POINTS, USED = (
    5000,
    1000,
    500,
)  # points, those at which tangent spaces are estimated, and of which the search makes use
KINDS = (
    (60, 0.25),
    (120, 0.5),
    (60, 0.5),
)  # neighbours that span one, and how far the metric is whitened in which they are near
LINKS = 12  # neighbours among the points, along which an orientation is handed on
N_STARTS, N_STEPS, RATE = 4, 40, 0.2  # of the search for a projection
SHARPNESS = 4.0  # of the cost of a fold
TOGETHER = 8  # searches at once
NUMBERS = 2**24  # in the neighbourhoods that are looked at together


class Projection(NamedTuple):
    """A linear code `encoder` @ x, (n, n_observed), and the linear map `decoder` (n_observed, n) that gives x back best."""

    encoder: Tensor
    decoder: Tensor


class Search(NamedTuple):
    """What a projection is sought for: data `x` (n_samples, n_observed) of mean 0. `kind` chooses among `KINDS`; `seed` sets the starts."""

    x: np.ndarray
    kind: int
    seed: int


def least_folding(searches: Sequence[Search], n: int) -> list[Projection | None]:
    """For each search a projection to `n` numbers of variance 1 that are not correlated; None where there is none to seek.

    T_p, an orthonormal basis of the tangent space at point p, are the n greatest principal axes of its neighbours. All are oriented alike,
    by handing the orientation on along a minimum spanning tree of the points (as surfaces are reconstructed: Hoppe et al. 1992), so that
    where the projection P does not fold, d_p = det(P T_p) / det(P C P')^(1/2), C the covariance of the data, has one sign. Least is the mean of
    -log softplus(SHARPNESS * d_p / mean |d|), by Adam, of several random starts the best.

    Searches are made together, since most of what one alone takes is the overhead of small operations; each finds what it would find alone.
    """
    begun = {place: start for place, search in enumerate(searches) if (start := _begin(search, n)) is not None}
    found: list[Projection | None] = [None] * len(searches)
    for same in _alike(begun):
        bases, costs = _turned([begun[place] for place in same])
        for place, own, cost in zip(same, bases, costs, strict=True):
            if cost.isfinite().any():
                found[place] = _projection(own[cost.argmin()] @ begun[place].metric.T, begun[place].data, n)
    return found


class _Begun(NamedTuple):
    data: Tensor
    metric: Tensor  # (n_observed, n_observed)
    tangents: Tensor  # (n_used, n_observed, n)
    covariance: Tensor
    bases: Tensor  # (N_STARTS, n, n_observed)


def _begin(search: Search, n: int) -> _Begun | None:
    n_samples, n_observed = search.x.shape
    n_neighbours, exponent = KINDS[search.kind % len(KINDS)]
    data = torch.as_tensor(search.x, dtype=torch.float64)
    found = nets.white_axes(data)
    if n_observed <= n or n_samples <= n_neighbours or found is None or not found[1].isfinite().all():
        return None
    axes, scales = found
    metric = axes * scales**exponent
    points = data @ metric
    generator = torch.Generator().manual_seed(search.seed)
    cloud = points[torch.randperm(n_samples, generator=generator)[:CLOUD]]
    at = cloud[:POINTS]
    tangents = oriented(_tangents(cloud, at, n_neighbours, n), at)[:USED]
    bases = torch.linalg.qr(torch.randn(N_STARTS, n_observed, n, generator=generator, dtype=torch.float64))[0].mT
    return _Begun(data, metric, tangents, torch.cov(points.T), bases)


def _alike(begun: Mapping[int, _Begun]) -> Iterator[list[int]]:
    """The searches in groups of one shape, none so large that it does not fit a processor's cache."""
    groups: dict[torch.Size, list[int]] = {}
    for place, start in begun.items():
        groups.setdefault(start.tangents.shape, []).append(place)
    for group in groups.values():
        for at in range(0, len(group), TOGETHER):
            yield group[at : at + TOGETHER]


def _turned(searches: Sequence[_Begun]) -> tuple[Tensor, Tensor]:
    """The bases (n_searches, N_STARTS, n, n_observed) at the end of the search, and their costs (n_searches, N_STARTS)."""
    n_points, n_observed, n = searches[0].tangents.shape
    tangents = torch.stack([own.tangents for own in searches]).transpose(1, 2).reshape(len(searches), n_observed, -1)
    covariances = torch.stack([own.covariance for own in searches])[:, None]
    bases = torch.stack([own.bases for own in searches]).requires_grad_()
    optimiser = torch.optim.Adam([bases], lr=RATE)

    def cost() -> Tensor:
        projected = (bases.flatten(1, 2) @ tangents).view(len(searches), N_STARTS, n, n_points, n)
        volumes = torch.linalg.det(projected.transpose(2, 3))
        volumes = volumes / torch.linalg.det(bases @ covariances @ bases.mT).sqrt()[..., None]
        scale = volumes.detach().abs().mean(-1, keepdim=True)
        # Far behind, its logarithm would be infinite.
        return -torch.nn.functional.softplus((SHARPNESS * volumes / scale).clamp(min=-100)).log().mean(-1)

    for _ in range(N_STEPS):
        optimiser.zero_grad()
        cost().sum().backward()
        optimiser.step()
    return bases.detach(), cost().detach().nan_to_num(torch.inf)


def _projection(basis: Tensor, data: Tensor, n: int) -> Projection | None:
    """The projection of `data` along `basis` (n, n_observed), its code made white; None if the data have fewer than n dimensions."""
    code = data @ basis.T
    factor, failed = torch.linalg.cholesky_ex(torch.cov(code.T).reshape(n, n))
    if failed:
        return None
    white = torch.linalg.inv(factor)
    decoder = torch.linalg.lstsq(code @ white.T, data).solution.T
    return Projection((white @ basis).float(), decoder.float())


def _tangents(points: Tensor, at: Tensor, n_neighbours: int, n: int) -> Tensor:
    """Orthonormal bases (n_at, n_observed, n) of what the nearest of `points` to each of `at` span most."""
    distances = torch.cdist(at.float(), points.float())
    near = torch.as_tensor(np.argpartition(distances.numpy(), n_neighbours - 1)[:, :n_neighbours])
    size = max(1, NUMBERS // (max(points.shape[1], n_neighbours) * points.shape[1]))
    return torch.cat([_axes(points[own], n) for own in near.split(size)])


def _axes(groups: Tensor, n: int) -> Tensor:
    """The n greatest principal axes of each group of points, (n_groups, n_observed, n), of `groups` (n_groups, n_points, n_observed)."""
    centred = groups - groups.mean(1, keepdim=True)
    if groups.shape[2] <= groups.shape[1] or n >= groups.shape[1]:
        return torch.linalg.eigh(centred.mT @ centred)[1][:, :, -n:]
    # Of more variables than points, and axes for all of which there are points: their products have the same eigenvalues, and are fewer.
    axes = centred.mT @ torch.linalg.eigh(centred @ centred.mT)[1][:, :, -n:]
    return torch.linalg.qr(axes)[0]


def oriented(tangents: Tensor, points: Tensor) -> Tensor:
    """`tangents` (n_points, n_observed, n), of which some change the sign of an axis, so that those of near `points` (n_points, n_observed) agree."""
    n_points = len(points)
    n_links = min(LINKS, n_points - 1)
    near = torch.cdist(points, points).topk(n_links + 1, largest=False)[1][:, 1:]
    overlap = torch.linalg.det(tangents[:, None].mT @ tangents[near])
    rows = np.repeat(np.arange(n_points), n_links)
    # Weights above 0, since 0 is no link; the tree links spaces that agree best.
    weights = sparse.csr_matrix(
        (1.01 - overlap.abs().flatten().numpy(), (rows, near.flatten().numpy())), [n_points] * 2
    )
    tree = csgraph.minimum_spanning_tree(weights.maximum(weights.T))
    signs = torch.ones(n_points, dtype=tangents.dtype)
    parts = csgraph.connected_components(tree, directed=False)[1]
    for label in range(parts.max() + 1):
        order, before = csgraph.breadth_first_order(tree, int(np.argmax(parts == label)), directed=False)
        agrees = torch.linalg.det(tangents[before[order[1:]]].mT @ tangents[order[1:]])
        for place, sign in zip(order[1:].tolist(), agrees.sign().tolist(), strict=True):
            signs[place] = signs[before[place]] * (sign or 1.0)
    result = tangents.clone()
    result[:, :, 0] *= signs[:, None]
    return result
