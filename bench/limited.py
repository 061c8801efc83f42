"""Runs trials of an estimator in a process of its own, which the system ends when a trial's time is up, whatever it is doing then.

A pack runs in a thread of a Ray worker, and a thread can neither take a signal nor stop a library's loop. A new process takes
seconds to start, so there is one only where a limit is set, for all trials of a pack up to the one that it ends with.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.engine import OutOfTime
from bench.trials import Pack


class ProcessDied(Exception):
    """The process of an estimator ended otherwise than by its own clock."""


@contextmanager
def clock(seconds: float | None) -> Iterator[None]:
    """Ends this process if what is inside takes longer. For the process of an estimator alone; without a limit, nothing."""
    if seconds is None:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def run(pack: Pack, time_limit: float) -> list[Any]:
    """`worker.estimate` of each trial, or the exception to report in its place."""
    results: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        while len(results) < len(pack.trials):
            left = Pack(pack.trials[len(results) :], pack.plugins)
            (Path(folder) / "job").write_bytes(pickle.dumps((left, time_limit)))
            done = subprocess.run(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    "import sys; from bench import limited; limited.child(sys.argv[1])",
                    folder,
                ],
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
                results.append(OutOfTime(f"fit and transform were not done after {time_limit:g} s"))
            else:
                last = (done.stderr.strip().splitlines() or [""])[-1]
                results.append(ProcessDied(f"its process ended with code {done.returncode} {last}".strip()))
    return results


def child(folder: str) -> None:
    """What the process does: writes one result after the other, so that those before its end are kept."""
    from bench import engine, plugins, worker

    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process; a parent may have passed on something else
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    pack, time_limit = pickle.loads((Path(folder) / "job").read_bytes())
    engine.use_one_thread()
    plugins.load(pack.plugins)
    worker.check_code(pack)
    with open(Path(folder) / "results", "wb") as file:
        for trial in pack.trials:
            pickle.dump(worker.estimate(trial, time_limit), file)
            file.flush()


def _read(path: Path) -> Sequence[Any]:
    results: list[Any] = []
    if path.exists():
        with open(path, "rb") as file:
            try:
                while True:
                    results.append(pickle.load(file))
            except (EOFError, pickle.UnpicklingError):
                pass
        path.unlink()
    return results
