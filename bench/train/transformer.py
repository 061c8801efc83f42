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
    """Returns the torch method `name` as a scikit-learn transformer: `fit(X, domains=labels, u=numbers)`, and `transform` alike.

    `parameters` are the method's fields, and `n_latents` (None: as many as X has columns), `random_state` and `device`. Domains are
    passed by name, in a pipeline too, as in `pipeline.fit(X, flowvae__domains=labels)`, and so are numbers u. Raises UsageError for a name that no torch method
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
    n_u: int = 0
    has_truth: ClassVar[bool] = False


class MethodEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Trains one model of a torch method as in the benchmark: on data standardised by column, restarts raced on held-out points.

    Fitted: `model_` (a torch module, in double precision), `domains_` (the labels, sorted), `mean_`, `scale_`, `n_u_` (columns of
    u), `n_features_in_`.
    """

    _method: str
    n_latents: int | None
    random_state: Any
    device: str

    def fit(self, X: Any, y: Any = None, *, domains: Any = None, u: Any = None) -> MethodEstimator:
        """Trains on `X` (n_samples, n_features); `domains` (n_samples,) are labels, integers or words, None for one domain.

        `u` (n_samples, n_u), or (n_samples,) for one, are numbers on which the latents depend beside the domain, as a time; None for none.
        `y` has the place that scikit-learn gives to targets, and is ignored. For a method that learns from changes between domains
        `y` without either is an error, since it can only be domains in the wrong place; other methods take any `y` with a warning, as
        pipelines hand one on to every transformer. Raises ValueError for that, for labels or numbers that are none, and where the method does
        not apply.
        """
        fields = {name: getattr(self, name) for name in methods[self._method].fields}
        self.method_: TorchMethod = methods[self._method].make(fields)
        if y is not None and domains is None and u is None:
            by_name = "ignores y; pass them by name, as fit(X, domains=labels)"
            if CHANGES in self.method_.assumes:
                raise ValueError(f"{self._method} learns from domains and {by_name}")
            # No error: scikit-learn's pipelines and checks hand labels on to every transformer.
            warnings.warn(f"if these are domains: {self._method} {by_name}", stacklevel=2)
        X = validate_data(self, X, dtype=(np.float64, np.float32), ensure_min_samples=2)
        self.domains_, codes = np.unique(_labels(domains, len(X)), return_inverse=True)
        if u is not None and not self.method_.takes_numbers:
            raise ValueError(f"{self._method} cannot use numbers u; it takes domains alone")
        numbers = _numbers(u, len(X))
        self.n_u_ = 0 if numbers is None else numbers.shape[1]
        n_latents = X.shape[1] if self.n_latents is None else self.n_latents
        if n_latents < 1:
            raise ValueError(f"n_latents={n_latents} must be at least 1")
        data = _Data((X.shape[1], n_latents, len(self.domains_)), self.n_u_)
        reason = self.method_.skip(data_facts(data))
        if reason is not None:
            is_asked = domains is None and u is None and "domains" in reason
            hint = "; pass them as domains=, or numbers as u=" if is_asked else ""
            raise ValueError(f"{self._method} {reason}{hint}")
        self.shape_ = model_shape(data)
        self.mean_, self.scale_ = scale(X)
        self._scale_of_u = None if numbers is None else scale(numbers)
        random = check_random_state(self.random_state)
        points = self._points(X, codes, numbers)
        stack = self._train(points, random)
        if not stack.alive:
            raise ValueError(f"training of {self._method} diverged; a lower learning_rate may help")
        self.model_ = stack.model(0).double().requires_grad_(False)
        encoded = self._encode(points)
        self.readout_ = encodings.fit_readout(self.method_, random.randint(2**31 - 1), encoded)
        self._n_features_out = encodings.finished(self.readout_, encoded, len(X)).shape[1]
        return self

    def transform(self, X: Any, *, domains: Any = None, u: Any = None) -> np.ndarray:
        """Returns the estimated latents (n_samples, n_estimated) of `X`; `domains` must be labels that were fitted, and `u` as many numbers."""
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
        numbers = _numbers(u, len(X))
        n_u = 0 if numbers is None else numbers.shape[1]
        if n_u != self.n_u_:
            raise ValueError(f"it was fitted with {self.n_u_} columns of u, and is given {n_u}")
        encoded = self._encode(self._points(X, np.searchsorted(self.domains_, labels), numbers))
        return encodings.finished(self.readout_, encoded, len(X)).astype(X.dtype, copy=False)

    def fit_transform(self, X: Any, y: Any = None, *, domains: Any = None, u: Any = None) -> np.ndarray:
        """Fits, and returns the estimated latents of the same points."""
        return self.fit(X, y, domains=domains, u=u).transform(X, domains=domains, u=u)

    def _points(self, X: np.ndarray, domains: np.ndarray, numbers: np.ndarray | None) -> Split:
        """Returns points standardised, whose domains are places in `domains_`."""
        if numbers is not None and self._scale_of_u is not None:
            mean, std = self._scale_of_u
            numbers = (numbers - mean) / std
        return Split((X - self.mean_) / self.scale_, domains, np.zeros((len(X), 0)), u=numbers)

    def _train(self, points: Split, random: np.random.RandomState) -> Stack:
        method, n = self.method_, len(points.x)
        held_out, training = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
        if method.restarts > 1:
            held_out[random.permutation(n)[: max(1, round(HELD_OUT * n))]] = True
            training = ~held_out
        points, validation = (_at(points, rows) for rows in (training, held_out))
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

    def _encode(self, points: Split) -> np.ndarray:
        u = torch.eye(self.shape_.n_domains, dtype=torch.float64)[torch.as_tensor(points.domains)]
        if points.u is not None:
            u = torch.cat([u, torch.as_tensor(points.u).double()], dim=1)
        return self.method_.encode(self.model_, torch.as_tensor(points.x).double(), u).numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _at(points: Split, rows: np.ndarray) -> Split:
    return Split(points.x[rows], points.domains[rows], points.z[rows], u=None if points.u is None else points.u[rows])


def _numbers(u: Any, n: int) -> np.ndarray | None:
    """Returns the numbers u of `n` points, (n, n_u) in float64. Raises ValueError for anything else."""
    if u is None:
        return None
    numbers = np.asarray(u)
    if numbers.dtype.kind not in "biuf" or numbers.ndim not in (1, 2) or len(numbers) != n or not numbers.size:
        raise ValueError(f"u must be numbers of shape ({n}, n_u) or ({n},), and is {numbers.dtype} {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise ValueError("u must be finite, and holds NaN or infinite values")
    return numbers.reshape(n, -1).astype(float)


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
