"""Charts: where every second restart begins. An unsupervised unfolding of the data, the same for every method.

Networks that start anywhere may end with the data manifold folded, or with a weak latent missing, and no method gets out of that.
Isomap unfolds the manifold first. Its coordinates are no estimate of the latents: every restart turns them by a rotation of its own,
and a bad rotation is a local optimum too, which is why only half of the restarts begin there.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.manifold import Isomap

N_LANDMARKS, N_NEIGHBORS = 1000, 12
RIDGE = 1e-2  # of the regression that carries the coordinates of the landmarks to all points


def unfold(x: np.ndarray, n_latents: int) -> np.ndarray:
    """Coordinates (n_samples, n_latents) on the manifold of standardised `x` (n_samples, n_observed), of unit covariance.

    Isomap (Tenenbaum et al. 2000) of some of the points, kernel ridge regression for the others. Raises ValueError for values that
    are not finite, or no more points than coordinates.
    """
    x = x.astype(float)
    landmarks = x[np.random.default_rng(0).permutation(len(x))[:N_LANDMARKS]]
    if len(landmarks) <= n_latents:
        raise ValueError(f"{len(landmarks)} points are too few for {n_latents} latents")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of several components of the neighbour graph, which Isomap joins
        isomap = Isomap(n_neighbors=min(N_NEIGHBORS, len(landmarks) - 1), n_components=n_latents)
        coordinates = isomap.fit_transform(landmarks)
    coordinates /= coordinates.std()
    carried = KernelRidge(alpha=RIDGE, kernel="rbf", gamma=0.5 / x.shape[1]).fit(landmarks, coordinates).predict(x)
    return PCA(whiten=True).fit_transform(carried)


def rotate(points: np.ndarray, seed: int) -> np.ndarray:
    """`points` (n_samples, n) turned by a random rotation."""
    n = points.shape[1]
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    return points @ (q * np.sign(np.diag(r)))
