"""The data of a trial as methods get them: standardised by the training part. And what the oracle says of them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from bench.plan.identity import data_seed
from bench.plan.trials import Trial, data_facts, fingerprint, image_of
from bench.train.errors import NotApplicable
from datasets import Instance, oracle
from datasets.columns import is_constant


def standardised(trial: Trial) -> Instance:
    """The trial's data, each observed variable standardised. Raises NotApplicable where its method cannot use them."""
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


@functools.lru_cache(maxsize=64)
def _oracle(dataset: Any, root_seed: int, seed: int, content: str | None) -> dict[str, Any]:
    return oracle.columns(generated(dataset, root_seed, seed, content))


@functools.lru_cache(maxsize=64)
def generated(dataset: Any, root_seed: int, seed: int, content: str | None) -> Instance:
    """The instance of a seed, each observed variable standardised by its training mean and standard deviation, images by those of all pixels.

    `content` is the fingerprint of a user's file, here so that a file that changed is read again.
    """
    instance = dataset.generate(data_seed(root_seed, seed))
    mean, std = scale(instance.train.x) if image_of(dataset) is None else image_scale(instance.train.x)
    splits = {
        name: dataclasses.replace(split, x=(split.x - mean) / std)
        for name, split in (("train", instance.train), ("validation", instance.validation), ("test", instance.test))
    }
    return dataclasses.replace(instance, **splits)


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
