"""What became of a trial: its status and reason, its scores, and what is kept of its latents."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable, Sequence
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

MOST_OF_TRACEBACK = 20_000  # characters, from its end
OWN = Path(__file__).parents[2]  # where this project's code is
UNDER_VMAP = {  # what torch says of hooks that cannot be run for many models at once, and what the contract says
    "calling .item()": "hooks are written for one model and run for many at once, so that .item() has no single value to give",
    "control flow": "hooks are written for one model and run for many at once, so that no branch can depend on a tensor's value; "
    "torch.where chooses between two tensors",
}
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
    facts = {"traceback": "".join(traceback.format_exception(error))[-MOST_OF_TRACEBACK:]}
    if isinstance(error, errors.BrokenContract):
        return Outcome(statuses.FAILED, f"BrokenContract: {error}", facts=facts)
    passing = isinstance(error, errors.SourceChanged) or is_out_of_memory(error)
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, RuntimeError) and str(error).startswith("vmap:"):
        what = next((f"BrokenContract: {text}" for words, text in UNDER_VMAP.items() if words in str(error)), what)
    status = statuses.CRASHED if passing else statuses.FAILED
    return Outcome(status, f"{what} ({place(traceback.extract_tb(error.__traceback__))})", facts=facts)


def place(frames: Sequence[traceback.FrameSummary]) -> str:
    """Where an error arose, in words: the last line of a method's own code, a user's first of all, and else the last one."""
    libraries = (sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"], f"{OWN / 'bench'}/")
    own = [frame for frame in frames if not frame.filename.startswith((*libraries, "<"))]
    users = [frame for frame in own if not frame.filename.startswith((f"{OWN / 'methods'}/", f"{OWN / 'datasets'}/"))]
    frame = (users or own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}, {frame.name}"


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate" in str(error)
