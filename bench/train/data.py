"""The data of a trial as methods get them: standardised by the training part. And what the oracle says of them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from bench.plan.identity import data_seed
from bench.plan.trials import Trial, data_facts, fingerprint, image_of
from bench.scores.factors import Judge
from bench.train.errors import NotApplicable
from datasets import Instance, Units, oracle
from datasets.columns import is_constant

KEPT = 2**29  # bytes of observed variables
_kept: dict[tuple[Any, int, int, str | None], Instance] = {}


def standardised(trial: Trial) -> Instance:
    """The trial's data, each observed variable and number of u standardised. Raises NotApplicable where its method cannot use them."""
    dataset = trial.make_dataset()
    reason = trial.make_method().skip(data_facts(dataset))
    if reason is not None:
        raise NotApplicable(f"{trial.method} {reason}")
    return generated(dataset, trial.root_seed, trial.seed, fingerprint(trial))


def verdicts(trial: Trial) -> dict[str, Any]:
    """What the oracle says of the trial's data, whatever became of the method; nothing where there are no data."""
    try:
        return _oracle(trial.make_dataset(), trial.root_seed, trial.seed, fingerprint(trial))
    except Exception:  # without data the trial has failed, and its error says why
        return {}


@functools.lru_cache(maxsize=2048)
def _oracle(dataset: Any, root_seed: int, seed: int, content: str | None) -> dict[str, Any]:
    return oracle.columns(generated(dataset, root_seed, seed, content))


def generated(dataset: Any, root_seed: int, seed: int, content: str | None) -> Instance:
    """The instance of a seed, each observed variable and number of u standardised by its training mean and standard deviation.

    Images are standardised by those of all their values.

    `content` is the fingerprint of a user's file, here so that a file that changed is read again. Those that were last asked for are kept.
    """
    key = (dataset, root_seed, seed, content)
    if key not in _kept:
        _kept[key] = _generated(dataset, root_seed, seed)
        while len(_kept) > 1 and sum(map(_bytes, _kept.values())) > KEPT:
            del _kept[next(iter(_kept))]
    _kept[key] = _kept.pop(key)  # the last one asked for comes last
    return _kept[key]


def judge(trial: Trial) -> Judge | None:
    """The judge of the trial's data, trained on their known factors; None where these are not known."""
    instance = generated(trial.make_dataset(), trial.root_seed, trial.seed, fingerprint(trial))
    if instance.train.content is None:
        return None
    return _judge(trial.make_dataset(), trial.root_seed, trial.seed, fingerprint(trial))


@functools.lru_cache(maxsize=16)
def _judge(dataset: Any, root_seed: int, seed: int, content: str | None) -> Judge:
    return Judge(generated(dataset, root_seed, seed, content).train, dataset.shape[2])


def _bytes(instance: Instance) -> int:
    return sum(split.x.nbytes for split in (instance.train, instance.validation, instance.test))


def _generated(dataset: Any, root_seed: int, seed: int) -> Instance:
    instance = dataset.generate(data_seed(root_seed, seed))
    mean, std = scale(instance.train.x) if image_of(dataset) is None else image_scale(instance.train.x)
    of_u = None if instance.train.u is None else scale(instance.train.u)
    splits = {
        name: dataclasses.replace(split, x=(split.x - mean) / std, u=of_u and (split.u - of_u[0]) / of_u[1])
        for name, split in (("train", instance.train), ("validation", instance.validation), ("test", instance.test))
    }
    u_units = instance.u_units if of_u is None else (*instance.u_units, Units(*of_u))
    return dataclasses.replace(instance, **splits, units=(*instance.units, Units(mean, std)), u_units=u_units)


def scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the centre and the scale, (n_columns,) each, by which the columns of `x` (n_samples, n_columns) are standardised.

    They are mean and standard deviation. From a column that is constant in `x`, but for its rounding, nothing can be learned: its scale
    is infinite, so that it is 0 for all points. By any finite scale, the one point elsewhere in which it differs would be thrown far
    off by weights that no training has touched.
    """
    constant = is_constant(x)
    return np.where(constant, x[0], x.mean(axis=0)), np.where(constant, np.inf, x.std(axis=0))


def image_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the centre and the scale by which all values of images `x` (n_samples, n_values) are standardised, two numbers.

    A pixel that hardly varies stays as faint as it is: by a scale of its own, noise would be as strong there as what moves elsewhere.
    """
    std = x.std(dtype=np.float64) or np.float64(np.inf)
    # As numbers of the type of `x`: images are large, and keep it.
    return x.mean(dtype=np.float64).astype(x.dtype), std.astype(x.dtype)
