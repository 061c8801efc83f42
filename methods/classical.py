"""Linear methods, and floors that learn nothing: the raw observations and an untrained encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from methods import CHANGES, SPARSITY, Blind, EstimatorMethod, Shape, field, lazy_module, register

torch = lazy_module("torch")
nets = lazy_module("methods.nets")
decomposition = lazy_module("sklearn.decomposition")
preprocessing = lazy_module("sklearn.preprocessing")
ajd = lazy_module("pyriemann.geometry.ajd")


@register("identity", source="this project")
@dataclass(frozen=True)
class Identity(EstimatorMethod):
    """The observed variables themselves, all of them, as if they were estimated latents."""

    role: ClassVar[str] = "floor"
    in_main_job: ClassVar[bool] = True

    def build(self, shape: Shape, seed: int):
        return Blind(preprocessing.FunctionTransformer())


@register("pca", source="Pearson 1901")
@dataclass(frozen=True)
class PCA(EstimatorMethod):
    """The leading principal components, as many as there are latents."""

    role: ClassVar[str] = "floor"
    in_main_job: ClassVar[bool] = True

    def build(self, shape: Shape, seed: int):
        return Blind(decomposition.PCA(shape.n_latents, random_state=seed), "components_")


@register("fastica", source="Hyvarinen 1999")
@dataclass(frozen=True)
class FastICA(EstimatorMethod):
    """Linear independent component analysis on the leading principal components."""

    role: ClassVar[str] = "floor"
    in_main_job: ClassVar[bool] = True
    max_iter: int = field(1000, help="fixed-point iterations at most", low=1)

    def build(self, shape: Shape, seed: int):
        return Blind(
            decomposition.FastICA(shape.n_latents, whiten="unit-variance", max_iter=self.max_iter, random_state=seed),
            "mixing_",
        )


@register("sparse-dictionary", source="Mairal et al. 2009")
@dataclass(frozen=True)
class SparseDictionary(EstimatorMethod):
    """Linear sparse coding: a dictionary with sparse atoms, so that each observed variable depends on few latents.

    Sparse principal component analysis (Zou et al. 2006; Mairal et al. 2009) on all the data: the sparse object is the loadings, as
    in a sparse mixing, and not the codes, as where few latents are active at a time.
    """

    assumes: ClassVar[frozenset[str]] = frozenset({SPARSITY})
    independent: ClassVar[bool] = False
    alpha: float = field(1.0, help="weight of the L1 norm of the loadings", low=0)
    max_iter: int = field(300, help="passes over the data at most", low=1)

    def build(self, shape: Shape, seed: int):
        return Blind(
            decomposition.SparsePCA(shape.n_latents, alpha=self.alpha, max_iter=self.max_iter, random_state=seed),
            "components_",
        )


@register("factor-analysis", source="Kaiser 1958")
@dataclass(frozen=True)
class FactorAnalysis(EstimatorMethod):
    """Linear and sparse: maximum-likelihood factor analysis with noise of its own in each observed variable, rotated by varimax.

    The likelihood leaves the rotation of the factors open. Varimax (Kaiser 1958) takes the one whose squared loadings vary most, so that
    each factor has a few large loadings and many small ones.
    """

    assumes: ClassVar[frozenset[str]] = frozenset({SPARSITY})
    max_iter: int = field(1000, help="iterations of the maximum-likelihood fit at most", low=1)

    def build(self, shape: Shape, seed: int):
        # By LAPACK: the randomised decomposition, scikit-learn's default, gives another result with another seed.
        factors = decomposition.FactorAnalysis(
            shape.n_latents, rotation="varimax", max_iter=self.max_iter, svd_method="lapack", random_state=seed
        )
        return Blind(factors, "components_")


@register("joint-diagonalisation", source="Pham & Cardoso 2001")
@dataclass(frozen=True)
class JointDiagonalisation(EstimatorMethod):
    """Linear, sufficient changes only: the map of the leading principal components whose covariance is diagonal in every domain.

    The maximum-likelihood estimate of a linear mixing of Gaussian latents whose scales change across domains (Pham & Cardoso 2001).
    """

    assumes: ClassVar[frozenset[str]] = frozenset({CHANGES})
    max_iter: int = field(200, help="sweeps of the joint diagonalisation at most", low=1)

    def build(self, shape: Shape, seed: int):
        return _JointDiagonaliser(decomposition.PCA(shape.n_latents, whiten=True, random_state=seed), self.max_iter)


@dataclass
class _JointDiagonaliser:
    components: Any
    max_iter: int

    def fit(self, x: np.ndarray, domains: np.ndarray) -> _JointDiagonaliser:
        z = self.components.fit_transform(x)
        counts = np.bincount(domains)
        large = np.flatnonzero(counts > z.shape[1])  # others have no covariance of full rank
        if len(large) < 2:
            raise ValueError(
                f"two domains with more than {z.shape[1]} points are needed, and {len(large)} have as many"
            )
        covariances = np.stack([np.cov(z[domains == u].T).reshape(z.shape[1], z.shape[1]) for u in large])
        self.unmixing = ajd.ajd_pham(covariances, n_iter_max=self.max_iter, sample_weight=counts[large])[0]
        return self

    def transform(self, x: np.ndarray, domains: np.ndarray) -> np.ndarray:
        return self.components.transform(x) @ self.unmixing.T

    @property
    def loadings(self) -> np.ndarray:
        whitened = self.components.components_.T * np.sqrt(self.components.explained_variance_)
        return whitened @ np.linalg.inv(self.unmixing)


@register("random", source="this project")
@dataclass(frozen=True)
class Random(EstimatorMethod):
    """An encoder with the backbone of the torch methods and random weights, untrained."""

    role: ClassVar[str] = "floor"
    in_main_job: ClassVar[bool] = True
    width: int = field(64, help="units of each hidden layer", low=1)
    depth: int = field(2, help="hidden layers", low=1)

    def build(self, shape: Shape, seed: int):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = nets.Encoder(
                shape.n_observed, shape.n_domains, shape.n_latents, self.width, self.depth, image=shape.image
            )
            encoder.mlp.network[-1].reset_parameters()  # encoders that are trained start linear; this one would stay so
            return _Untrained(encoder, shape)


@dataclass
class _Untrained:
    encoder: Any
    shape: Shape

    def fit(self, x: np.ndarray, domains: np.ndarray) -> _Untrained:
        self.encoder.whiten(torch.as_tensor(x))
        return self

    def transform(self, x: np.ndarray, domains: np.ndarray) -> np.ndarray:
        one_hot = np.eye(self.shape.n_domains, dtype=x.dtype)[domains]
        with torch.no_grad():
            return self.encoder(torch.as_tensor(x), torch.as_tensor(one_hot)).numpy()
