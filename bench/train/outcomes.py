"""What became of a trial: its status and reason, its scores, and what is kept of its latents."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import statuses
from bench.scores import factors, metrics
from bench.scores.factors import Judge
from bench.train import errors
from bench.train.pictures import made, pictures
from datasets import Instance

KEPT_POINTS = 500  # test points whose latents are kept beside the rows
STATUS: dict[type[BaseException], str] = {
    errors.NotApplicable: statuses.NOT_APPLICABLE,
    errors.Diverged: statuses.DIVERGED,
    errors.OutOfTime: statuses.TIMED_OUT,
    errors.EndedItsProcess: statuses.FAILED,
    errors.LostProcess: statuses.CRASHED,
}


@dataclass
class Outcome:
    """`scores` are empty unless the status is ok; `latents` is what `Store.latents` keeps, `facts` more columns: of `bench.train.rows.FACTS`.

    `kept` is what was asked to be kept beside (`bench.train.kept`), by kind and name.
    """

    status: str
    error: str | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    latents: dict[str, np.ndarray] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, np.ndarray] = field(default_factory=dict)


def scored(
    instance: Instance,
    validation: np.ndarray,
    test: np.ndarray,
    scores: dict[str, Any],
    strength: np.ndarray | None = None,
    judge: Judge | None = None,
    decode: Callable[[np.ndarray], np.ndarray] | None = None,
    make: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Outcome:
    """The outcome of estimates (n_samples, n_estimated) of two splits, which were checked; `scores` are those that are known already.

    `strength` (n_observed, n_estimated) is that of the decoder's edges, if there is a decoder; `decode` maps estimates (n_samples,
    n_estimated) to x, and `make` gives new points (n, n_observed) of domains (n,). `judge` is that of the data's factors, where these are known.
    """
    scores = dict(scores)
    kept = {"z_hat": test, "z": instance.test.z, "domains": instance.test.domains}
    kept = {key: array[:KEPT_POINTS] for key, array in kept.items()}
    support = sparse_support(instance)
    supports, wrong = None, list[str]()
    if strength is not None and support is not None and np.isfinite(strength).all():
        supports = metrics.Supports(support, strength)
        kept |= {"support": support, "strength": strength}
    if instance.test.z.shape[1]:
        evaluation = metrics.Evaluation.of(
            metrics.Encoded(instance.validation.z, validation, instance.validation.domains),
            metrics.Encoded(instance.test.z, test, instance.test.domains),
            instance.changing,
            supports,
        )
        found, wrong = evaluation.scores()
        scores |= found
        kept["match"] = np.array([evaluation.estimate_of.get(i, -1) for i in range(instance.test.z.shape[1])])
    elif supports is not None:
        evaluation = metrics.Evaluation.of_supports(supports)
        scores |= evaluation.scores()[0]
        kept["match"] = np.array([evaluation.edge_of.get(i, -1) for i in range(supports.true.shape[1])])
    if judge is not None:
        scores |= factors.factor_scores(instance, validation, test, judge, decode)
        if decode is not None and instance.x_shape:
            style = factors.is_style(validation, instance.validation.domains)
            kept |= pictures(instance, test, style, decode)
        if make is not None:
            scores |= factors.made_scores(instance, judge, make)
            if instance.x_shape:
                kept |= made(instance, make)
    return Outcome(statuses.OK, "; ".join(wrong) or None, scores, kept)


def sparse_support(instance: Instance) -> np.ndarray | None:
    """The support that a decoder can be scored against: known, and not full."""
    is_scored = instance.support is not None and not instance.support.all()
    return instance.support if is_scored else None


def failure(error: BaseException) -> Outcome:
    """The outcome of a trial that raised `error`, whatever a method may raise; Ctrl-C passes on.

    A trial that no repetition would mend has failed; one that another moment, or the present code, may mend has crashed.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error
    if type(error) in STATUS:
        return Outcome(STATUS[type(error)], str(error))
    if isinstance(error, errors.BrokenContract):
        return Outcome(statuses.FAILED, f"BrokenContract: {error}")
    passing = isinstance(error, errors.SourceChanged) or is_out_of_memory(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}, line {where.lineno}, {where.name}"
    return Outcome(statuses.CRASHED if passing else statuses.FAILED, f"{type(error).__name__}: {error} ({place})")


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate" in str(error)
