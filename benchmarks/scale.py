"""How long a store of a million trials takes to resume, to compact and to report, and how much memory.

    python benchmarks/scale.py --only store
    python benchmarks/scale.py --only store --trials 100000 --folder /tmp/scale    # smaller, and kept for the next time

The rows are those of the reference run, again and again: with other identifiers, more data seeds and more numbers of domains. Each part
runs in a process of its own; seconds are of the clock and of the
processor, of which the second is the one to read on a busy machine; memory is the most that the process held.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pandas as pd  # noqa: E402

from bench.plan.identity import digest  # noqa: E402
from bench.run.store import PLANNED, Store, _plain  # noqa: E402

REFERENCE = ROOT / "results" / "reference"
TRIALS = 1_000_000
PER_PART = 32
SEEDS = 10  # times as many data seeds as the reference run has; the rest is numbers of domains
ASKED = {"resume": 20.0, "report": 60.0}  # seconds
ASKED_GB = 4.0

RESUME = """
import time
from types import SimpleNamespace
from bench.run.store import Store
asked = [SimpleNamespace(trial_id=trial) for trial in Store({folder!r}).planned().trial_id]
started = time.perf_counter()
store = Store({folder!r})
with store.lock():
    missing = store.missing(asked)
print(f"{{len(missing)}} of {{len(asked)}} trials are missing", time.perf_counter() - started)
"""
COMPACT = """
import time
from bench.run.store import Store
started = time.perf_counter()
print(f"{{len(Store({folder!r}).compact())}} rows", time.perf_counter() - started)
"""
REPORT = """
import sys, time
from bench.cli import main
started = time.perf_counter()
code = main(["report", {folder!r}])
print(f"exit code {{code}}", time.perf_counter() - started)
"""


def build(folder: Path, n_trials: int) -> None:
    """A run's folder with so many finished trials. Not made as a run makes it, which would wait for the disk at every part."""
    rows = [_plain(row) for row in pd.read_parquet(REFERENCE / "trials.parquet").to_dict("records")]
    store = Store(folder)
    store.parts.mkdir(parents=True)
    shutil.copy(REFERENCE / "manifest.json", folder / "manifest.json")
    with open(folder / "planned.csv", "w") as planned:
        planned.write(",".join(PLANNED) + "\n")
        for start in range(0, n_trials, PER_PART):
            lines, pack = [], f"{digest(start)}"
            for number in range(start, min(start + PER_PART, n_trials)):
                copy, row = number // len(rows), dict(rows[number % len(rows)])
                row["seed"] += 10 * (copy % SEEDS)
                row["domains"] += 10 * (copy // SEEDS)
                row |= {"trial_id": digest(number), "pack_id": pack, "finished_at": row["finished_at"] + number}
                lines.append(json.dumps(row) + "\n")
                planned.write(",".join(row[name] for name in PLANNED) + "\n")
            (store.parts / f"{pack}.jsonl").write_text("".join(lines))


def measured(code: str) -> dict[str, Any]:
    """What a Python program says in its last line, its seconds, and the memory that it held at most."""
    before = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    *_, last = process.stdout.read().splitlines() or [f"nothing {time.perf_counter() - before}"]
    _, status, usage = os.wait4(process.pid, 0)
    said, _, seconds = last.rpartition(" ")
    return {
        "says": said if status == 0 else f"failed ({status})",
        "seconds": float(seconds),
        "GB": usage.ru_maxrss / 1e6,
        "cpu": usage.ru_utime + usage.ru_stime,
    }


def store(arguments: argparse.Namespace) -> None:
    """Measures resume, compaction, and the whole command `report`, each from a file system that has the folder in memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary) / "run"
        if not folder.exists():
            started = time.perf_counter()
            build(folder, arguments.trials)
            print(f"built {arguments.trials} trials in {time.perf_counter() - started:.0f} s", flush=True)
        for name, code in {"resume": RESUME, "resume again": RESUME, "compact": COMPACT, "report": REPORT}.items():
            if arguments.part and arguments.part not in name:
                continue
            found = measured(code.format(folder=str(folder)))
            asked = ASKED.get(name.split()[0])
            wanted = f" (asked: {asked:.0f} s, {ASKED_GB:.0f} GB)" if asked else ""
            print(
                f"{name}: {found['seconds']:.1f} s, of the processor {found['cpu']:.1f} s with imports, {found['GB']:.2f} GB{wanted}; {found['says']}",
                flush=True,
            )


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {"store": store}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", choices=PARTS, help="measure this alone (default: everything)")
    parser.add_argument(
        "--trials", type=int, default=TRIALS, metavar="N", help="trials in the store (default: %(default)s)"
    )
    parser.add_argument("--folder", help="keep the store there, and take the one that is there")
    parser.add_argument("--part", help="of the store: resume, compact or report alone")
    arguments = parser.parse_args()
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            part(arguments)


if __name__ == "__main__":
    main()
