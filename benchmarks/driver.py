"""What the process that drives a run takes for each pack: 100,000 packs of no work on 64 logical workers of Ray.

    python benchmarks/driver.py
    python benchmarks/driver.py --packs 5000 --workers 8

Everything is real but the training: the packs, the tasks, the loop that hands them out and listens, and the store. Seconds are of this
process's processor time, and of the clock, which holds the disk and the workers too; memory is that of this process, at several moments.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402
from rich.console import Console  # noqa: E402

from bench.plan.packs import Pack  # noqa: E402
from bench.plan.trials import Trial  # noqa: E402
from bench.run import executors  # noqa: E402
from bench.run.placement import Placement  # noqa: E402
from bench.run.process import Done, Task  # noqa: E402
from bench.run.store import Store  # noqa: E402
from datasets import datasets  # noqa: E402

MOMENTS = 5  # at which the memory is looked at


def no_work(task: Task, state: Any, given: Any) -> Iterator[Any]:
    """A task that is done at once."""
    import time
    from types import SimpleNamespace

    (trial,) = task.part.trials
    row = {"trial_id": trial.trial_id, "method": trial.method, "status": "ok", "finished_at": time.time()}
    row |= {"dataset": trial.dataset, "role": "floor", "seed": trial.seed, "root_seed": 0, "code": ""}
    yield Done(SimpleNamespace(rows=[row], latents={}, is_too_large=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--packs", type=int, default=100_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=64, metavar="N", help="default: %(default)s")
    arguments = parser.parse_args()
    fields = datasets["sparse-mixing"].defaults
    packs = [Pack((Trial("sparse-mixing", fields, "identity", {}, seed, 0),)) for seed in range(arguments.packs)]
    executors._task = no_work
    executors.cores = lambda: arguments.workers
    process, seen = psutil.Process(), []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        write, wrote_s = store.write_pack, 0.0

        def timed(*what: Any) -> None:
            nonlocal wrote_s
            begun = time.perf_counter()
            write(*what)
            wrote_s += time.perf_counter() - begun
            seen.append(process.memory_info().rss if len(seen) % (arguments.packs // MOMENTS) == 0 else 0)

        store.write_pack = timed  # type: ignore[method-assign]
        begun, cpu = time.perf_counter(), time.process_time()
        executors.run(packs, store, Placement(executor="ray"), Console(stderr=True))
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        n_rows = sum(1 for _ in store.parts.iterdir())
    per = 1e3 / arguments.packs
    print(f"{n_rows} of {arguments.packs} packs on {arguments.workers} logical workers")
    print(f"driver, per pack: {cpu * per:.2f} ms of the processor, {seconds * per:.2f} ms of the clock (asked: 5 ms)")
    print(f"writing: {n_rows / wrote_s:.0f} packs of one row per second, {wrote_s * per:.2f} ms each, durable")
    memory = [round(value / 2**20) for value in seen if value]
    print(f"memory of the driver in MiB, from the first pack to the last: {', '.join(map(str, memory))}")
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
