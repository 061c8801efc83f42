"""Linear maps of a chart's code that suit what a method assumes: each gives (n_latents, n_latents), row i the direction of latent i.

A chart knows the latents up to any map; which linear one a method starts from matters as much as many starts do. Each map uses no more
than its assumption. All latents that they give have variance 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning

from bench.registry import CHANGES, SPARSITY
from datasets import Split
from methods import nets

N_STARTS, N_STEPS, RATE = 16, 60, 0.15  # of the search for a map
POINTS = 128  # of the code, at which the sparsity of a map is measured
ICA_POINTS = 2500  # of the code, from which ICA is learned: a start need not be exact
WEIGHT = 0.1  # of sparsity beside changes
TOGETHER = 8  # searches at once
GROUPS, LEAST = 10, 100  # of points with similar u in each domain, at most, and points of a group, on average


def random(n_latents: int, seed: int) -> np.ndarray:
    """A rotation, uniform over all (by Haar's measure)."""
    values = torch.randn(n_latents, n_latents, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(values)
    return (q * torch.sign(torch.diagonal(r))).numpy()


def groups(points: Split) -> np.ndarray:
    """Places of points (n_samples,) in groups whose latents are taken to be independent: the domains, or parts of them with similar u.

    Where u has numbers, the covariance at one u cannot be estimated, and that of points around it stands in for it: each domain is cut by
    k-means of the numbers, so that one number gives intervals. What latents change within a group makes them depend on each other there,
    which is why a map serves as a start alone.
    """
    if points.u is None:
        return points.domains
    n = min(GROUPS, len(points.u) // (LEAST * len(np.unique(points.domains))), len(np.unique(points.u, axis=0)))
    if n < 2:
        return points.domains
    scale = points.u.std(axis=0)
    cluster = KMeans(n, n_init=1, random_state=0).fit_predict(points.u / np.where(scale > 0, scale, 1))
    return np.unique(points.domains * n + cluster, return_inverse=True)[1].reshape(-1)


class Code(NamedTuple):
    """What a map is sought for: a code `points` (n_samples, n_latents) with its `domains`, or `groups`, (n_samples,) and decoder.

    `seed` sets the starts.
    """

    points: np.ndarray
    domains: np.ndarray
    decoder: nets.MLP
    seed: int


def suited(codes: Sequence[Code], assumes: Collection[str]) -> list[tuple[np.ndarray, float] | None]:
    """For each of `codes`, of as many latents, the map T of least cost by what a method `assumes`, z = T c, and that cost.

    None for changes where there are no two domains. Neither assumption leaves independence, FastICA (Hyvarinen 1999), and no cost.

    Sufficient changes cost, in nats per sample, -log p of Gaussian latents that are independent in each domain u, of which c has a part w_u
    of its points and covariance C_u: sum_u w_u * 1/2 sum_i log (T C_u T')_ii - log |det T| (Pham & Cardoso 2001, up to a constant).
    Sparse mixing costs the mean over the code of sum_{k,i} |dx_k/dz_i| * std(z_i); beside changes, `WEIGHT` times it, as in the methods'
    objectives. Neither depends on the scale of a row. Many random rotations are turned downhill by Adam, and the best is taken.
    A domain counts that has more points than there are latents.

    Maps are sought together, since most of what one alone takes is the overhead of small operations; each is what it would be alone.
    """
    if not assumes:
        return [(_independent(code), 0.0) for code in codes]
    begun = {place: own for place, code in enumerate(codes) if (own := _begin(code, assumes)) is not None}
    found: list[tuple[np.ndarray, float] | None] = [None] * len(codes)
    for has_changes in (False, True):
        places = [place for place, own in begun.items() if own.has_changes == has_changes]
        for group in (places[at : at + TOGETHER] for at in range(0, len(places), TOGETHER)):
            maps, costs = _turned([begun[place] for place in group], SPARSITY in assumes)
            for place, own, cost in zip(group, maps, costs, strict=True):
                best = own[cost.argmin()].numpy() @ begun[place].white
                found[place] = _scaled(best, codes[place].points), float(cost.min())
    return found


class _Begun(NamedTuple):
    white: np.ndarray  # (n_latents, n_latents): the search is as easy for any code
    has_changes: bool
    covariances: torch.Tensor  # (n_domains, n_latents, n_latents), in the white code, of the domains that count
    shares: torch.Tensor  # (n_domains,)
    jacobian: torch.Tensor  # (n_points, n_observed, n_latents), of the white code
    maps: torch.Tensor  # (N_STARTS, n_latents, n_latents)


def _begin(code: Code, assumes: Collection[str]) -> _Begun | None:
    points, n = code.points, code.points.shape[1]
    counts = np.bincount(code.domains)
    large = np.flatnonzero(counts > n)
    has_changes = CHANGES in assumes and len(large) > 1
    if not has_changes and SPARSITY not in assumes:
        return None
    white = np.linalg.inv(np.linalg.cholesky(np.cov(points.T).reshape(n, n)))
    inside = [np.cov(points[code.domains == u] @ white.T, rowvar=False).reshape(n, n) for u in large]
    generator = torch.Generator().manual_seed(code.seed)
    some = torch.as_tensor(points)[torch.randperm(len(points), generator=generator)[:POINTS]]
    jacobian = torch.func.vmap(torch.func.jacrev(code.decoder))(some.float()).detach()
    return _Begun(
        white,
        has_changes,
        torch.as_tensor(np.array(inside).reshape(-1, n, n)),
        torch.as_tensor(counts[large] / counts[large].sum()),
        jacobian @ torch.as_tensor(np.linalg.inv(white)).float(),
        torch.linalg.qr(torch.randn(N_STARTS, n, n, generator=generator, dtype=torch.float64))[0],
    )


def _turned(codes: Sequence[_Begun], is_sparse: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The maps (n_codes, N_STARTS, n_latents, n_latents) at the end of the search, and their costs (n_codes, N_STARTS)."""
    n_codes = len(codes)
    maps = torch.stack([own.maps for own in codes]).requires_grad_()
    n = maps.shape[-1]
    # (n_codes, 1, n_points * n_observed, n_latents): fewer points than asked in a code of few are zeros, and do not count.
    n_rows = max(len(own.jacobian) for own in codes) * codes[0].jacobian.shape[1]
    jacobian = torch.stack([_padded(own.jacobian.flatten(0, 1), n_rows) for own in codes])[:, None]
    n_points = torch.as_tensor([len(own.jacobian) for own in codes])[:, None]
    weight = 1.0
    if codes[0].has_changes:
        weight = WEIGHT
        n_domains = max(len(own.shares) for own in codes)
        shares = torch.stack([_padded(own.shares, n_domains) for own in codes])[:, None, :, None]
        # Domains that are missing have the covariance of the white code, and the share 0.
        inside = [_padded(own.covariances - torch.eye(n), n_domains) + torch.eye(n) for own in codes]
        covariances = torch.stack(inside)[:, None]
    optimiser = torch.optim.Adam([maps], lr=RATE)

    def cost() -> torch.Tensor:
        total = torch.zeros(n_codes, N_STARTS, dtype=torch.float64)
        if codes[0].has_changes:
            turned = maps[:, :, None] @ covariances
            variances = (turned * maps[:, :, None]).sum(-1)
            total = 0.5 * (variances.log() * shares).sum((-2, -1)) - torch.linalg.slogdet(maps)[1]
        if is_sparse:
            columns = torch.linalg.inv_ex(maps)[0] * maps.norm(dim=-1)[:, :, None, :]
            total = total + weight * (jacobian @ columns.float()).abs().sum((-2, -1)) / n_points
        return total

    for _ in range(N_STEPS):
        optimiser.zero_grad()
        cost().sum().backward()
        optimiser.step()
    return maps.detach(), cost().detach().nan_to_num(torch.inf)


def _padded(values: torch.Tensor, length: int) -> torch.Tensor:
    """`values` with zeros at their end."""
    return torch.cat([values, values.new_zeros(length - len(values), *values.shape[1:])])


def _independent(code: Code) -> np.ndarray:
    rows = torch.randperm(len(code.points), generator=torch.Generator().manual_seed(code.seed))[:ICA_POINTS]
    with warnings.catch_warnings():
        # A start need not have converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica = FastICA(whiten="unit-variance", max_iter=500, random_state=code.seed % 2**32).fit(
            code.points[rows.numpy()]
        )
    return _scaled(ica.components_, code.points)


def _scaled(matrix: np.ndarray, code: np.ndarray) -> np.ndarray:
    return matrix / (code @ matrix.T).std(axis=0)[:, None]
