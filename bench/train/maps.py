"""Linear maps of a chart's code that suit what a method assumes: each gives (n_latents, n_latents), row i the direction of latent i.

A chart knows the latents up to any map; which linear one a method starts from matters as much as many starts do. Each map uses no more
than its assumption. All latents that they give have variance 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection

import numpy as np
import torch
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning

from bench.registry import CHANGES, SPARSITY
from methods import nets

N_STARTS, N_STEPS, RATE = 16, 60, 0.15  # of the search for a map
POINTS = 128  # of the code, at which the sparsity of a map is measured
WEIGHT = 0.1  # of sparsity beside changes


def random(n_latents: int, seed: int) -> np.ndarray:
    """A rotation, uniform over all (by Haar's measure)."""
    values = torch.randn(n_latents, n_latents, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(values)
    return (q * torch.sign(torch.diagonal(r))).numpy()


def suited(
    code: np.ndarray, domains: np.ndarray, decoder: nets.MLP, assumes: Collection[str], seed: int
) -> tuple[np.ndarray, float] | None:
    """The map T of least cost by what a method `assumes`, z = T c, and that cost; None for changes where there are no two domains.

    Neither assumption leaves independence, FastICA (Hyvarinen 1999), and no cost.

    Sufficient changes cost, in nats per sample, -log p of Gaussian latents that are independent in each domain u, of which c has a part w_u
    of its points and covariance C_u: sum_u w_u * 1/2 sum_i log (T C_u T')_ii - log |det T| (Pham & Cardoso 2001, up to a constant).
    Sparse mixing costs the mean over the code of sum_{k,i} |dx_k/dz_i| * std(z_i); beside changes, `WEIGHT` times it, as in the methods'
    objectives. Neither depends on the scale of a row. Many random rotations are turned downhill by Adam, and the best is taken.

    `code` is (n_samples, n_latents), `domains` (n_samples,). A domain counts that has more points than there are latents.
    """
    if not assumes:
        return _independent(code, seed), 0.0
    n = code.shape[1]
    counts = np.bincount(domains)
    large = np.flatnonzero(counts > n)
    has_changes = CHANGES in assumes and len(large) > 1
    if not has_changes and SPARSITY not in assumes:
        return None
    white = np.linalg.inv(
        np.linalg.cholesky(np.cov(code.T).reshape(n, n))
    )  # so that the search is as easy for any code
    covariances = torch.as_tensor(
        np.stack([np.cov(code[domains == u] @ white.T, rowvar=False).reshape(n, n) for u in large])
    )
    shares = torch.as_tensor(counts[large] / counts[large].sum())
    generator = torch.Generator().manual_seed(seed)
    points = torch.as_tensor(code)[torch.randperm(len(code), generator=generator)[:POINTS]]
    jacobian = torch.func.vmap(torch.func.jacrev(decoder))(points.float()).detach()  # (n_points, n_observed, n_latents)
    jacobian = jacobian @ torch.as_tensor(np.linalg.inv(white)).float()
    maps = torch.linalg.qr(torch.randn(N_STARTS, n, n, generator=generator, dtype=torch.float64))[0].requires_grad_()
    optimiser = torch.optim.Adam([maps], lr=RATE)

    def cost() -> torch.Tensor:
        total = torch.zeros(N_STARTS, dtype=torch.float64)
        if has_changes:
            variances = torch.einsum("sij,ujk,sik->sui", maps, covariances, maps)
            total = (0.5 * variances.log().sum(-1) * shares).sum(-1) - torch.linalg.slogdet(maps)[1]
        if SPARSITY in assumes:
            columns = (torch.linalg.inv(maps) * maps.norm(dim=-1)[:, None, :]).float()
            strength = torch.einsum("pmn,snk->spmk", jacobian, columns).abs().sum((2, 3)).mean(1)
            total = total + (WEIGHT if has_changes else 1.0) * strength
        return total

    for _ in range(N_STEPS):
        optimiser.zero_grad()
        cost().sum().backward()
        optimiser.step()
    costs = cost().detach().nan_to_num(torch.inf)
    best = costs.argmin()
    return _scaled(maps[best].detach().numpy() @ white, code), float(costs[best])


def _independent(code: np.ndarray, seed: int) -> np.ndarray:
    with warnings.catch_warnings():
        # A start need not have converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica = FastICA(whiten="unit-variance", max_iter=500, random_state=seed % 2**32).fit(code)
    return _scaled(ica.components_, code)


def _scaled(matrix: np.ndarray, code: np.ndarray) -> np.ndarray:
    return matrix / (code @ matrix.T).std(axis=0)[:, None]
