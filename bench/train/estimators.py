"""Trials of methods that fit by themselves, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from bench.plan.trials import Trial, model_shape
from bench.train import encodings, kept, models
from bench.train.data import judge, standardised
from bench.train.errors import BrokenContract
from bench.train.outcomes import Outcome, failure, scored, sparse_support
from bench.train.reporter import Reporter
from datasets import Instance, Split


class Estimated(NamedTuple):
    """An outcome, with its seconds of training and of scoring."""

    outcome: Outcome
    train_s: float
    score_s: float


def estimate(
    trial: Trial,
    slot: int = 0,
    time_limit: float | None = None,
    reporter: Reporter | None = None,
    keep: Collection[str] = (),
) -> Estimated:
    """Fits and scores one trial, whose place in its pack is `slot`.

    `time_limit` is the seconds that `fit` and `transform` may take. Only the listener of `reporter` can end them: no exception stops a
    library's loop. `keep` names the kinds of `bench.train.kept` that are given back.
    """
    reporter = reporter or Reporter()
    start = time.perf_counter()
    try:
        with reporter.at(slot, makes_data=True):
            instance = standardised(trial)
        with reporter.at(slot):
            with reporter.clock(time_limit, f"fit and transform were not done after {time_limit or 0:g} s"):
                estimator = trial.make_method().build(model_shape(trial.make_dataset()), trial.init_seed() % 2**32)
                _call(estimator.fit, instance.train)
                validation, test = (
                    np.asarray(_call(estimator.transform, split)) for split in (instance.validation, instance.test)
                )
            trained = time.perf_counter()
            for encoding, split in ((validation, instance.validation), (test, instance.test)):
                encodings.check(encoding, len(split.x))
            strength = _strength(estimator, instance, test)
            outcome = scored(instance, validation, test, {}, strength, judge(trial))
            if keep:
                outcome.kept = _kept(trial.method, estimator, instance, validation, test, keep)
        return Estimated(outcome, trained - start, time.perf_counter() - trained)
    except BaseException as error:
        return Estimated(failure(error), time.perf_counter() - start, 0.0)


def _strength(estimator: Any, instance: Instance, z_hat: np.ndarray) -> np.ndarray | None:
    """The strength of the edges of a linear decoder, (n_observed, n_estimated), as of any other: |dx_k/dz_i| * std(z_i). None without one.

    Raises BrokenContract where the loadings are no matrix of that shape.
    """
    loadings = getattr(estimator, "loadings", None)
    if loadings is None or sparse_support(instance) is None:
        return None
    loadings, expected = np.asarray(loadings), (instance.test.x.shape[1], z_hat.shape[1])
    if loadings.shape != expected or loadings.dtype.kind not in "fiu":
        raise BrokenContract(
            f"loadings are {loadings.dtype} {loadings.shape}, and must be real numbers (n_observed, n_estimated), here {expected}"
        )
    return np.abs(loadings) * z_hat.std(axis=0)


def _kept(
    name: str, estimator: Any, instance: Instance, validation: np.ndarray, test: np.ndarray, keep: Collection[str]
) -> dict[str, np.ndarray]:
    """What is kept of a fitted estimator, whose latents of two splits are known: as a model, that of a linear map."""
    found = dict[str, np.ndarray]()
    model = None
    try:
        arrays, model = models.arrays_of_linear(name, estimator.transform, instance, test)
    except models.NotKept as error:
        arrays = models.no_model(str(error))
    if kept.MODELS in keep:
        found |= kept.named(kept.MODELS, arrays)
    if kept.LATENTS in keep:
        splits = [instance.train, instance.validation, instance.test]
        if model is not None:
            latents = [model.of_standardised(split) for split in splits]
        else:
            train = np.asarray(_call(estimator.transform, instance.train))
            encodings.check(train, len(instance.train.x))
            latents = [train, validation, test]
        found |= kept.named(kept.LATENTS, kept.latents_of(instance, latents))
    return found


def _call(function: Callable, split: Split) -> Any:
    """`function(x, domains)` on copies that it must leave as they are."""
    x, domains = split.x.copy(), split.domains.copy()
    result = function(x, domains)
    if not (np.array_equal(x, split.x, equal_nan=True) and np.array_equal(domains, split.domains)):
        raise BrokenContract(f"{function.__name__} writes to the data that it is given")
    return result
