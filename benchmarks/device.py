"""What a device does for this project: speed and memory by pack size, how far its scores are from a CPU's, and the main job.

    python benchmarks/device.py --out device.json

Measures three things, and prints a Markdown table of each. A part that fails, or runs out of memory, says so, and the others go on.

1. Model-steps per second, and the peak of memory, of a method of every ladder and of the chart, in packs of several sizes. On a GPU
   synergy-vae is measured twice: with steps that are replayed as CUDA graphs, as in a run, and with steps whose kernels are launched one by one.
2. Scores of twenty trials that are trained twice: on the CPU and on the GPU. Where there is no GPU, in packs of ten and of five
   instead, whose arithmetic rounds differently too.
3. The time of the main job, `run_bench.py --grid domains=2..10`, from the command to the report.

It takes less than five minutes on a GPU: a main job that is not done by then is stopped. It takes some twenty minutes on two cores of a
CPU, and about one with `--quick`, which measures small packs and a small job. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from bench.plan.packs import Pack  # noqa: E402
from bench.plan.trials import Trial  # noqa: E402
from bench.train.chart import Autoencoder  # noqa: E402
from bench.train.engine import CHUNK, Job, Replayed, Stack, use_one_thread  # noqa: E402
from bench.train.pack import run_pack  # noqa: E402
from datasets import datasets  # noqa: E402
from methods import Shape, methods  # noqa: E402

MEASURED = ("synergy-vae", "chart", "vae", "flow-vae", "ivae", "synergy-gan", "synergy-flow")
BOTH_WAYS = ("synergy-vae",)  # with and without CUDA graphs
WARM_UP = Replayed.WARM_UP
SIZES, QUICK_SIZES = {"cpu": (1, 8, 32), "cuda": (8, 64, 256, 1024)}, (1, 8)
REPEATS = 5  # timings of one pack, of which the median counts
COMPARED = ("vae", "synergy-vae")  # ten trials of each
STEPS, QUICK_STEPS = 600, 64  # of each of the twenty trials
SCORES = ("mcc_spearman", "objective")
MAIN_JOB = ("--grid", "domains=2..10")
QUICK_JOB = ("--grid", "domains=2,3", "--profile", "quick", "--seeds", "1", "--methods", "vae,synergy-vae,pca")
TOTAL_S, LEAST_S = 300, 60  # of all parts on a GPU, and of the main job however long the others took
GRACE_S = 20  # for a job that is asked to stop


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="what to measure (default: auto)"
    )
    parser.add_argument("--quick", action="store_true", help="measure small packs and a small job, in about a minute")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write what was measured there as well")
    arguments = parser.parse_args(argv)
    there = torch.cuda.is_available()
    if arguments.device == "cuda" and not there:
        parser.error("--device cuda: torch sees no CUDA device here; use --device cpu")
    device = "cuda" if there and arguments.device != "cpu" else "cpu"
    start, quick = time.monotonic(), arguments.quick

    found: dict[str, Any] = {"machine": machine(device)}
    print("\n".join(f"- {name}: {value}" for name, value in found["machine"].items()))
    job = QUICK_JOB if quick else MAIN_JOB
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "Speed and memory": lambda: speed(
            MEASURED, QUICK_SIZES if quick else SIZES[device], device, 0.2 if quick else 1.0
        ),
        "Scores of twenty trials": lambda: scores(device, QUICK_STEPS if quick else STEPS),
        "Main job": lambda: main_job(job, device, _left(start) if device == "cuda" else None),
    }
    for title, part in parts.items():
        print(f"\n## {title}\n", flush=True)
        try:
            rows = part()
        except Exception as error:  # the other parts can still be measured
            rows = [{"error": in_words(error)}]
        print(markdown(rows), flush=True)
        found[title] = rows
        if arguments.out:
            arguments.out.write_text(json.dumps(found, indent=1))
    return 0


def _left(start: float) -> float:
    return max(LEAST_S, TOTAL_S - (time.monotonic() - start))


def machine(device: str) -> dict[str, Any]:
    """What is measured, and with what."""
    found = {
        "device": device,
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {"GPU": properties.name, "GPU memory, GiB": round(properties.total_memory / 2**30, 1)}
    return found


# --- speed and memory


def speed(names: Sequence[str], sizes: Sequence[int], device: str, seconds: float) -> list[dict[str, Any]]:
    """Rows of method, number of models, model-steps per second, milliseconds per step and peak memory, or an error.

    A method's packs are measured in one process of their own, the smallest first, so that a peak is that of the pack. If the process
    dies, the next pack gets a new one.
    """
    rows = []
    for name in names:
        with Process() as process:
            for size in sorted(sizes):
                for graphs in (True, False) if device == "cuda" and name in BOTH_WAYS else (True,):
                    row = {"method": name, "models": size}
                    if device == "cuda":
                        row["CUDA graphs"] = "yes" if graphs else "no"
                    rows.append(row | process(measure, name, size, device, seconds, graphs))
    return rows


def measure(name: str, size: int, device: str, seconds: float, graphs: bool = True) -> dict[str, Any]:
    """Trains a pack for `seconds`, or REPEATS timings if these are done before; at least one. `graphs` says whether steps may be replayed."""
    use_one_thread()
    Replayed.WARM_UP = WARM_UP if graphs else sys.maxsize
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    dataset = datasets["sparse-mixing"].make({})
    train = dataset.generate(0).train
    jobs = [Job(train, init_seed=i, noise_seed=i) for i in range(size)]
    method = Autoencoder(steps=1_000_000) if name == "chart" else methods[name].make({"steps": 1_000_000})
    stack = Stack(method, Shape(*dataset.shape), jobs, device)
    done = CHUNK
    warm_up = _seconds(stack, done, device)
    span = CHUNK if warm_up > 1 else 3 * CHUNK
    times: list[float] = []
    while not times or (len(times) < REPEATS and sum(times) < seconds):
        done += span
        times.append(_seconds(stack, done, device))
    per_step = statistics.median(times) / span
    return {
        "model-steps/s": round(size / per_step),
        "ms per step": round(1000 * per_step, 2),
        "memory, MiB": round(_peak_memory(device) / 2**20),
    }


def _seconds(stack: Stack, until: int, device: str) -> float:
    start = time.perf_counter()
    stack.train(until)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _peak_memory(device: str) -> int:
    """Bytes: of the tensors on a GPU, of the whole process on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    import resource  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# --- scores


def scores(device: str, steps: int) -> list[dict[str, Any]]:
    """Rows of method, score, what is compared, and the median and the greatest difference over its ten trials."""
    both = {"cpu, packs of 10": ("cpu", 10), "cuda, packs of 10": ("cuda", 10)}
    if device == "cpu":
        both = {"cpu, packs of 10": ("cpu", 10), "cpu, packs of 5": ("cpu", 5)}
    with Process() as process:
        found = [(name, [process(train, name, steps, *how) for how in both.values()]) for name in COMPARED]
    rows = []
    for name, (first, second) in found:
        row = {"method": name, "compared": " with ".join(both)}
        errors = [each["error"] for each in (first, second) if "error" in each]
        if errors:
            rows.append(row | {"error": errors[0]})
            continue
        for score in SCORES:
            pairs = [(first[seed].get(score), second[seed].get(score)) for seed in first]
            apart = [abs(one - other) for one, other in pairs if one is not None and other is not None]
            rows.append(row | {"score": score, "trials": len(apart)} | _spread(apart))
    return rows


def _spread(apart: Sequence[float]) -> dict[str, Any]:
    if not apart:
        return {"error": "no trial has this score on both sides"}
    return {"median difference": f"{statistics.median(apart):.2g}", "greatest": f"{max(apart):.2g}"}


def train(name: str, steps: int, device: str, pack_size: int) -> dict[int, dict[str, Any]]:
    """Rows of ten trials by seed, trained in packs of so many."""
    use_one_thread()
    data, fields = datasets["sparse-mixing"].defaults, methods[name].defaults | {"steps": steps, "start": "random"}
    trials = [Trial("sparse-mixing", data, name, fields, seed, 0) for seed in range(10)]
    packs = [Pack(tuple(trials[at : at + pack_size])) for at in range(0, len(trials), pack_size)]
    return {row["seed"]: row for pack in packs for row in run_pack(pack, device).rows}


# --- the main job


def main_job(options: Sequence[str], device: str, limit: float | None) -> list[dict[str, Any]]:
    """One row: the command, its seconds and what became of it. It writes into a folder that is removed."""
    command = ["run_bench.py", *options, "--device", device]
    row: dict[str, Any] = {"command": " ".join(command)}
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "output", "w+") as output:
        start = time.perf_counter()
        job = subprocess.Popen(
            [sys.executable, str(ROOT / command[0]), *command[1:]],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that all that it starts can be stopped with it
        )
        try:
            code = job.wait(limit)
        except subprocess.TimeoutExpired:
            return [row | {"seconds": round(limit or 0), "result": "stopped before it was done"}]
        finally:
            _stop(job)
        row["seconds"] = round(time.perf_counter() - start)
        if code == 0:
            return [row | {"result": "done"}]
        output.seek(0)
        last = output.read().strip().rpartition("\n")[2]
        return [row | {"error": f"it ended with code {code}: {last}"}]


def _stop(job: subprocess.Popen) -> None:
    """Asks a job that still runs to stop, as Ctrl-C does, and ends it and what it started where that does not help."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if job.poll() is None:
            os.killpg(job.pid, number)
            with suppress(subprocess.TimeoutExpired):
                job.wait(GRACE_S)


# --- what the parts share


class Process:
    """Calls functions in a process of its own, a new one after one that died. A call that fails gives a row that says so."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()

    def __call__(self, function: Callable, *arguments: Any) -> Any:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            self._pool = None
            return {"error": "its process died: out of memory, or killed"}
        except Exception as error:
            return {"error": in_words(error)}


def in_words(error: Exception) -> str:
    """One line for a table."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
        return "out of memory"
    return f"{type(error).__name__}: {' '.join(str(error).split())}".replace("|", "/")


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table with a column for each name that some row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([str(row.get(name, "")) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
