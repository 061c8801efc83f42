"""Trials of methods that fit by themselves: in this process or, where a time limit is set, in one of their own.

A pack runs in a thread of a Ray worker, and a thread can neither take a signal nor stop a library's loop: under a limit the system ends
a whole process, whatever it is doing then. A new process takes seconds to start, so there is one only where a limit is set, for all
trials of a pack up to the one that it ends with.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.plan.packs import Pack
from bench.plan.trials import Trial, model_shape
from bench.train import encodings
from bench.train.data import standardised
from bench.train.errors import BrokenContract, OutOfTime, ProcessDied, check_source
from bench.train.outcomes import Outcome, failure, scored
from datasets import Split


class Estimated(NamedTuple):
    """An outcome, with its seconds of training and of scoring."""

    outcome: Outcome
    train_s: float
    score_s: float


def run(pack: Pack, time_limit: float | None = None) -> list[Estimated]:
    """What became of each trial of a pack; `time_limit` is the seconds that `fit` and `transform` of one may take."""
    if time_limit is None:
        return [estimate(trial) for trial in pack.trials]
    return _run_limited(pack, time_limit)


def estimate(trial: Trial, time_limit: float | None = None) -> Estimated:
    """Fits and scores one trial. With a limit, this whole process ends if it takes longer."""
    start = time.perf_counter()
    try:
        instance = standardised(trial)
        with _clock(time_limit):
            estimator = trial.make_method().build(model_shape(trial.make_dataset()), trial.init_seed() % 2**32)
            _call(estimator.fit, instance.train)
            validation, test = (
                np.asarray(_call(estimator.transform, split)) for split in (instance.validation, instance.test)
            )
        trained = time.perf_counter()
        for encoding, split in ((validation, instance.validation), (test, instance.test)):
            encodings.check(encoding, len(split.x))
        outcome = scored(instance, validation, test, {})
        return Estimated(outcome, trained - start, time.perf_counter() - trained)
    except Exception as error:
        return Estimated(failure(error), time.perf_counter() - start, 0.0)


def _call(function: Callable, split: Split) -> Any:
    """`function(x, domains)` on copies that it must leave as they are."""
    x, domains = split.x.copy(), split.domains.copy()
    result = function(x, domains)
    if not (np.array_equal(x, split.x, equal_nan=True) and np.array_equal(domains, split.domains)):
        raise BrokenContract(f"{function.__name__} writes to the data that it is given")
    return result


@contextmanager
def _clock(seconds: float | None) -> Iterator[None]:
    """Ends this process if what is inside takes longer. Without a limit, nothing."""
    if seconds is None:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


# --- in a process of their own


def _run_limited(pack: Pack, time_limit: float) -> list[Estimated]:
    results: list[Estimated] = []
    with tempfile.TemporaryDirectory() as folder:
        while len(results) < len(pack.trials):
            left = Pack(pack.trials[len(results) :], pack.plugins)
            (Path(folder) / "job").write_bytes(pickle.dumps((left, time_limit)))
            program = "import sys; from bench.train import estimators; estimators.child(sys.argv[1])"
            done = subprocess.run(
                [sys.executable, "-P", "-c", program, folder],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            results += _read(Path(folder) / "results")
            if len(results) == len(pack.trials):
                break
            if done.returncode == -signal.SIGALRM:
                error: Exception = OutOfTime(f"fit and transform were not done after {time_limit:g} s")
            else:
                last = (done.stderr.strip().splitlines() or [""])[-1]
                error = ProcessDied(f"its process ended with code {done.returncode} {last}".strip())
            results.append(Estimated(failure(error), 0.0, 0.0))
    return results


def child(folder: str) -> None:
    """The program of that process. It writes one result after the other, so that those before its end are kept."""
    from bench.plan import plugins
    from bench.train import engine

    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process; a parent may have passed on something else
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    job, time_limit = pickle.loads((Path(folder) / "job").read_bytes())
    engine.use_one_thread()
    plugins.load(job.plugins)
    check_source(job)
    with open(Path(folder) / "results", "wb") as file:
        for trial in job.trials:
            pickle.dump(estimate(trial, time_limit), file)
            file.flush()


def _read(path: Path) -> Sequence[Estimated]:
    results: list[Estimated] = []
    if path.exists():
        with open(path, "rb") as file:
            try:
                while True:
                    results.append(pickle.load(file))
            except (EOFError, pickle.UnpicklingError):
                pass
        path.unlink()
    return results
