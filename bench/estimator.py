"""Torch methods as scikit-learn transformers, for use outside the benchmark: on a user's own data, in a pipeline, in a search."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bench import plugins, worker
from bench.engine import Job, Stack
from bench.trials import model_shape
from datasets import Split
from methods import TorchMethod, methods
from registry import Entry, UsageError

HELD_OUT = 0.2  # part of the points on which restarts are compared, if there are several


def as_estimator(name: str, **parameters: Any) -> MethodEstimator:
    """The torch method `name` as a scikit-learn transformer: `fit(X, domains=u)`, `transform(X, domains=u)`.

    `parameters` are the method's fields, and `n_latents` (None: as many as X has columns), `random_state` and `device`. Raises
    UsageError for a name that no torch method has, and for one that must see the true latents.
    """
    plugins.load()
    return _class(methods[name])(**parameters)


@functools.cache
def _class(entry: Entry) -> type[MethodEstimator]:
    """scikit-learn reads parameters off the signature of `__init__`, so every method has a class of its own."""
    if not issubclass(entry.cls, TorchMethod) or entry.cls.sees_latents:
        raise UsageError(f"{entry.name} is no torch method that learns without the truth; only those become estimators")
    own = [("n_latents", Any, None), ("random_state", Any, None), ("device", Any, "cpu")]
    fields = [(name, Any, dataclasses.field(default=default)) for name, default in entry.defaults.items()]
    cls = dataclasses.make_dataclass(
        entry.cls.__name__, [*fields, *own], bases=(MethodEstimator,), kw_only=True, eq=False, repr=False
    )
    cls.__doc__, cls._method = entry.cls.__doc__, entry.name  # type: ignore[attr-defined]
    cls.__module__, cls.__qualname__ = __name__, entry.name  # where pickle finds it, by `__getattr__` below
    return cls


def __getattr__(name: str) -> Any:
    if name not in methods.names():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _class(methods[name])


class MethodEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """One model of a torch method, trained as in the benchmark: on data standardised by column, restarts raced on held-out points.

    Fitted: `model_` (a torch module, in double precision), `domains_` (the labels, sorted), `mean_`, `scale_`, `n_features_in_`.
    """

    _method: str
    n_latents: int | None
    random_state: Any
    device: str

    def fit(self, X: Any, y: Any = None, *, domains: Any = None) -> MethodEstimator:
        """Trains on `X` (n_samples, n_features); `domains` (n_samples,), labels of any kind, None for one domain. `y` is ignored."""
        X = validate_data(self, X, dtype=(np.float64, np.float32), ensure_min_samples=2)
        fields = {name: getattr(self, name) for name in methods[self._method].fields}
        self.method_: TorchMethod = methods[self._method].make(fields)
        self.domains_, u = np.unique(self._labels(domains, len(X)), return_inverse=True)
        if len(self.domains_) < self.method_.min_domains:
            raise ValueError(f"{self._method} needs at least {self.method_.min_domains} domains; pass them as domains=")
        n_latents = X.shape[1] if self.n_latents is None else self.n_latents
        if n_latents < 1:
            raise ValueError(f"n_latents={n_latents} must be at least 1")
        self.shape_ = model_shape((X.shape[1], n_latents, len(self.domains_)))
        self.mean_, self.scale_ = X.mean(axis=0), X.std(axis=0)
        self.scale_[self.scale_ == 0] = 1
        random = check_random_state(self.random_state)
        stack = self._train((X - self.mean_) / self.scale_, u, random)
        if not stack.alive:
            raise ValueError(f"training of {self._method} diverged; a lower learning_rate may help")
        self.model_ = stack.model(0).double().requires_grad_(False)
        encoded = self._encode(X, u)
        self.readout_ = self.method_.readout(random.randint(2**31 - 1))
        if self.readout_ is not None:
            encoded = self.readout_.fit(encoded).transform(encoded)
        self._n_features_out = encoded.shape[1]
        return self

    def transform(self, X: Any, *, domains: Any = None) -> np.ndarray:
        """Estimated latents (n_samples, n_estimated) of `X`; `domains` must be labels that were fitted."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        if domains is None and len(self.domains_) > 1:
            raise ValueError("it was fitted on several domains; pass those of these points as domains=")
        labels = self._labels(domains, len(X))
        if not np.isin(labels, self.domains_).all():
            raise ValueError(f"domains: {labels[~np.isin(labels, self.domains_)][0]!r} was not among those fitted")
        encoded = self._encode(X, np.searchsorted(self.domains_, labels))
        if self.readout_ is not None:
            encoded = self.readout_.transform(encoded)
        return encoded.astype(X.dtype, copy=False)

    def fit_transform(self, X: Any, y: Any = None, *, domains: Any = None) -> np.ndarray:
        """Estimated latents of the points it is fitted on."""
        return self.fit(X, domains=domains).transform(X, domains=domains)

    def _labels(self, domains: Any, n: int) -> np.ndarray:
        labels = np.zeros(n, dtype=int) if domains is None else np.asarray(domains)
        if labels.shape != (n,):
            raise ValueError(f"domains must have shape ({n},), and has {labels.shape}")
        return labels

    def _train(self, x: np.ndarray, u: np.ndarray, random: np.random.RandomState) -> Stack:
        method, n = self.method_, len(x)
        held_out, training = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
        if method.restarts > 1:
            held_out[random.permutation(n)[: max(1, round(HELD_OUT * n))]] = True
            training = ~held_out
        truth = np.zeros((n, 0))
        points, validation = (Split(x[rows], u[rows], truth[rows]) for rows in (training, held_out))
        seeds = random.randint(2**31 - 1, size=(method.restarts, 2)).tolist()
        jobs = [Job(points, init_seed, noise_seed) for init_seed, noise_seed in seeds]
        stack = Stack(method, self.shape_, jobs, self.device)
        choosing = {0: validation if method.restarts > 1 else points}
        worker.train(stack, [0] * len(jobs), choosing)
        worker.keep_best(stack, [0] * len(jobs), choosing)
        return stack

    def _encode(self, X: np.ndarray, u: np.ndarray) -> np.ndarray:
        x = torch.as_tensor((X - self.mean_) / self.scale_).double()
        one_hot = torch.eye(self.shape_.n_domains, dtype=torch.float64)[torch.as_tensor(u)]
        return self.method_.encode(self.model_, x, one_hot).numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
