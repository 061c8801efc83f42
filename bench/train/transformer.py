"""Torch methods as scikit-learn transformers, for use outside the benchmark: on a user's own data, in a pipeline, in a search."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bench.plan import plugins
from bench.plan.charts import budget
from bench.plan.identity import CHART, stream_seed
from bench.plan.trials import data_facts, model_shape
from bench.registry import CHANGES, Entry, UsageError
from bench.train import chart, encodings, race
from bench.train.data import scale
from bench.train.engine import Job, Stack
from datasets import Split
from methods import AutoencoderMethod, Start, TorchMethod, methods

HELD_OUT = 0.2  # part of the points on which restarts are compared, if there are several


def as_estimator(name: str, **parameters: Any) -> MethodEstimator:
    """Returns the torch method `name` as a scikit-learn transformer: `fit(X, domains=u)`, `transform(X, domains=u)`.

    `parameters` are the method's fields, and `n_latents` (None: as many as X has columns), `random_state` and `device`. Domains are
    passed by name, in a pipeline too, as in `pipeline.fit(X, flowvae__domains=u)`. Raises UsageError for a name that no torch method
    has, and for one that must see the true latents.
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


@dataclass(frozen=True)
class _Data:
    """What is known of a user's points, as a data set says it."""

    shape: tuple[int, int, int]  # (n_observed, n_latents, number of domains)
    has_truth: ClassVar[bool] = False


class MethodEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Trains one model of a torch method as in the benchmark: on data standardised by column, restarts raced on held-out points.

    Fitted: `model_` (a torch module, in double precision), `domains_` (the labels, sorted), `mean_`, `scale_`, `n_features_in_`.
    """

    _method: str
    n_latents: int | None
    random_state: Any
    device: str

    def fit(self, X: Any, y: Any = None, *, domains: Any = None) -> MethodEstimator:
        """Trains on `X` (n_samples, n_features); `domains` (n_samples,) are labels, integers or words, None for one domain.

        `y` has the place that scikit-learn gives to targets, and is ignored. For a method that learns from changes between domains
        `y` without `domains` is an error, since it can only be domains in the wrong place; other methods take any `y` with a warning, as
        pipelines hand one on to every transformer. Raises ValueError for that, for labels that are none, and where the method does not apply.
        """
        fields = {name: getattr(self, name) for name in methods[self._method].fields}
        self.method_: TorchMethod = methods[self._method].make(fields)
        if y is not None and domains is None:
            by_name = "ignores y; pass them by name, as fit(X, domains=u)"
            if CHANGES in self.method_.assumes:
                raise ValueError(f"{self._method} learns from domains and {by_name}")
            # No error: scikit-learn's pipelines and checks hand labels on to every transformer.
            warnings.warn(f"if these are domains: {self._method} {by_name}", stacklevel=2)
        X = validate_data(self, X, dtype=(np.float64, np.float32), ensure_min_samples=2)
        self.domains_, u = np.unique(_labels(domains, len(X)), return_inverse=True)
        n_latents = X.shape[1] if self.n_latents is None else self.n_latents
        if n_latents < 1:
            raise ValueError(f"n_latents={n_latents} must be at least 1")
        data = _Data((X.shape[1], n_latents, len(self.domains_)))
        reason = self.method_.skip(data_facts(data))
        if reason is not None:
            hint = "; pass them as domains=" if domains is None and "domains" in reason else ""
            raise ValueError(f"{self._method} {reason}{hint}")
        self.shape_ = model_shape(data)
        self.mean_, self.scale_ = scale(X)
        random = check_random_state(self.random_state)
        stack = self._train((X - self.mean_) / self.scale_, u, random)
        if not stack.alive:
            raise ValueError(f"training of {self._method} diverged; a lower learning_rate may help")
        self.model_ = stack.model(0).double().requires_grad_(False)
        encoded = self._encode(X, u)
        self.readout_ = encodings.fit_readout(self.method_, random.randint(2**31 - 1), encoded)
        self._n_features_out = encodings.finished(self.readout_, encoded, len(X)).shape[1]
        return self

    def transform(self, X: Any, *, domains: Any = None) -> np.ndarray:
        """Returns the estimated latents (n_samples, n_estimated) of `X`; `domains` must be labels that were fitted."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        if domains is None and len(self.domains_) > 1:
            raise ValueError("it was fitted on several domains; pass those of these points as domains=")
        # Points without domains are in the only one that was fitted.
        labels = np.repeat(self.domains_, len(X)) if domains is None else _labels(domains, len(X))
        known = _are_words(labels) == _are_words(self.domains_) and np.isin(labels, self.domains_)
        if not np.all(known):
            first = labels.tolist()[np.broadcast_to(known, labels.shape).argmin()]
            raise ValueError(f"domains: {first!r} was not among those fitted")
        encoded = self._encode(X, np.searchsorted(self.domains_, labels))
        return encodings.finished(self.readout_, encoded, len(X)).astype(X.dtype, copy=False)

    def fit_transform(self, X: Any, y: Any = None, *, domains: Any = None) -> np.ndarray:
        """Fits, and returns the estimated latents of the same points."""
        return self.fit(X, y, domains=domains).transform(X, domains=domains)

    def _train(self, x: np.ndarray, u: np.ndarray, random: np.random.RandomState) -> Stack:
        method, n = self.method_, len(x)
        held_out, training = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
        if method.restarts > 1:
            held_out[random.permutation(n)[: max(1, round(HELD_OUT * n))]] = True
            training = ~held_out
        truth = np.zeros((n, 0))
        points, validation = (Split(x[rows], u[rows], truth[rows]) for rows in (training, held_out))
        seeds = random.randint(2**31 - 1, size=(method.restarts, 2)).tolist()
        choosing = {0: validation if method.restarts > 1 else points}
        starts = self._starts(points, choosing[0], [seed for seed, _ in seeds], int(random.randint(2**31 - 1)))
        jobs = [Job(points, init, noise, start=own) for (init, noise), own in zip(seeds, starts, strict=True)]
        stack = Stack(method, self.shape_, jobs, self.device)
        race.train(stack, choosing)
        race.keep_best(stack, choosing)
        return stack

    def _starts(self, points: Split, held_out: Split, seeds: list[int], root: int) -> list[Start | None]:
        """What each restart starts from: the chart of the data, if the method starts from one."""
        method = self.method_
        if not isinstance(method, AutoencoderMethod) or method.start != "chart":
            return [None] * len(seeds)

        def chart_seeds(start: int) -> tuple[int, int]:
            return stream_seed(root, CHART, start, 0), stream_seed(root, CHART, start, 1)

        found = chart.fit({0: (points, held_out)}, self.shape_, budget(method), [chart_seeds], device=self.device)
        if not found:
            raise ValueError("training of the chart from which it starts diverged; check the scale of X")
        return [found[0].start(*found[0].choose(method.assumes, k, seed), points.x) for k, seed in enumerate(seeds)]

    def _encode(self, X: np.ndarray, u: np.ndarray) -> np.ndarray:
        x = torch.as_tensor((X - self.mean_) / self.scale_).double()
        one_hot = torch.eye(self.shape_.n_domains, dtype=torch.float64)[torch.as_tensor(u)]
        return self.method_.encode(self.model_, x, one_hot).numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _labels(domains: Any, n: int) -> np.ndarray:
    """Returns labels of `n` points' domains as an array of whole numbers or of words. Raises ValueError for anything else."""
    if domains is None:
        return np.zeros(n, dtype=int)
    # As objects, since numpy would make words of numbers that stand among words.
    labels = np.asarray(domains, dtype=None if hasattr(domains, "dtype") else object)
    if labels.shape != (n,):
        raise ValueError(f"domains must have shape ({n},), and has {labels.shape}")
    values = labels.tolist()
    words = [isinstance(label, str) for label in values]
    for label, is_word in zip(values, words, strict=True):
        if not is_word and not (isinstance(label, Real) and label == label // 1):
            raise ValueError(f"domains must be integers or words, and hold {label!r}")
    if any(words) and not all(words):
        raise ValueError("domains must be integers or words, and hold both")
    return np.array(values)


def _are_words(labels: np.ndarray) -> bool:
    return labels.dtype.kind == "U"
