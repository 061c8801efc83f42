"""How fast the engine trains on one core: this commit, another commit beside it, and what the bare matrix products would take.

    python benchmarks/engine.py                        # a method of every ladder, and the chart
    python benchmarks/engine.py --against HEAD~3       # the same of that commit, in turn with this one
    python benchmarks/engine.py --methods flow-vae --models 1,8,32
    python benchmarks/engine.py --shares               # also where the time of a small main job goes

Prints a table: model-steps per second, the median over rounds; how many times as fast as the other commit, the median over rounds of the
ratio within a round; which part of the time the matrix products of the step alone would take, by torch.bmm in the same process; and the peak
of memory. Seconds are those of the processor. Each commit has a process of its own for each row, and the two take turns, so that what
else the machine does falls on both. Compare ratios, not numbers of different runs.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import pstats
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
METHODS = (
    "vae,flow-vae,sparse-vae,synergy-vae,ivae,sparse-ivae,sparse-dependent-vae,gan,synergy-gan,flow,synergy-flow,chart"
)
SMALL_JOB = "--grid domains=2,3 --grid violation=0 --profile quick --seeds 1 --executor serial --name shares"
PARTS = {  # of a job: functions whose time counts there, by file and name
    "data": [("bench/train/data.py", "generated")],
    "chart": [("bench/train/chart.py", "fit")],
    "training": [("bench/train/race.py", "train")],
    "scoring": [("bench/train/stacked.py", "_scored"), ("bench/train/stacked.py", "_ties")],
    "report": [("bench/report/write.py", "write")],
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", metavar="REV", help="a commit to compare with")
    parser.add_argument(
        "--methods", default=METHODS, help="what to measure, with commas between (default: %(default)s)"
    )
    parser.add_argument("--models", default="32", help="numbers of models in a stack, with commas between")
    parser.add_argument("--rounds", type=int, default=7, help="timings of each row and commit")
    parser.add_argument("--shares", action="store_true", help="also run a small main job and say where its time goes")
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        return serve(Path(arguments.serve))
    with ExitStack() as stack:
        roots = [ROOT]
        if arguments.against:
            roots.append(stack.enter_context(checked_out(arguments.against)))
        rows = []
        for name in arguments.methods.split(","):
            for size in map(int, arguments.models.split(",")):
                rows.append(measured(roots, name, size, arguments.rounds))
                print(", ".join(f"{key}: {value}" for key, value in rows[-1].items()), file=sys.stderr, flush=True)
    print(markdown(rows))
    if arguments.shares:
        print("a small main job", file=sys.stderr, flush=True)
        print("\n" + markdown(shares(SMALL_JOB.split())))
    return 0


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A temporary folder with the files of a commit."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def measured(roots: Sequence[Path], name: str, size: int, rounds: int) -> dict[str, Any]:
    """The row of a stack of `size` models: of the first commit in `roots`, and how it compares with the second, if there is one."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(root)) for root in roots]
        for server in servers:
            server.ask("begin", name, size)
        times = [[server.ask("train") for server in servers] for _ in range(rounds)]
        own = statistics.median(turn[0] for turn in times)
        row = {"method": name, "models": size, "model-steps/s": round(size / own)}
        if len(roots) > 1:
            row["times as fast"] = f"{statistics.median(turn[1] / turn[0] for turn in times):.2f}"
        row["part that bare products take"] = f"{servers[0].ask('products') / own:.2f}"
        return row | {"memory, MiB": round(servers[0].ask("memory"))}


class Server:
    """A process that trains with the code in a folder, one stack, when it is asked."""

    def __init__(self, root: Path):
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", str(root)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, *question: Any) -> float:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that measures ended at {question}")
        return float(answer)


def serve(root: Path) -> int:
    """Answers questions, a line each, until there are none. Every import of this project is from `root`."""
    sys.path[0] = str(root)
    import resource  # not on every system

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from bench.train.chart import Autoencoder
    from bench.train.engine import CHUNK, Job, Stack, use_one_thread
    from datasets import datasets
    from methods import Shape, methods

    class Products(TorchDispatchMode):
        """Counts the matrix products that are computed, by their shapes."""

        def __init__(self) -> None:
            super().__init__()
            self.shapes: Counter[tuple] = Counter()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__
            if name in ("bmm", "mm", "baddbmm", "baddbmm_", "addmm"):
                left, right = args[-2:]
                self.shapes[(1,) * (3 - left.dim()) + left.shape, (1,) * (3 - right.dim()) + right.shape] += 1
            return func(*args, **(kwargs or {}))

    def seconds_of(products: Products) -> float:
        total = 0.0
        for (left, right), count in products.shapes.items():
            a, b, times = torch.randn(left), torch.randn(right), []
            for _ in range(20):
                begin = time.thread_time()
                torch.bmm(a, b)
                times.append(time.thread_time() - begin)
            total += count * statistics.median(times)
        return total / CHUNK

    use_one_thread()
    dataset = datasets["sparse-mixing"].make({})
    points = dataset.generate(0).train
    products, done = Products(), 0
    stack: Any = None
    for line in sys.stdin:
        question, *rest = json.loads(line)
        answer = 0.0
        if question == "begin":
            name, size = rest
            fields = {"steps": 10**6}
            method = Autoencoder(**fields) if name == "chart" else methods[name].make(fields)
            stack = Stack(method, Shape(*dataset.shape), [Job(points, seed, seed) for seed in range(size)])
            with products:  # all its steps, but for a recording's
                stack.train(done := CHUNK)
            stack.train(done := done + CHUNK)
        elif question == "train":
            begin = time.thread_time()
            stack.train(done := done + CHUNK)
            answer = (time.thread_time() - begin) / CHUNK
        elif question == "products":
            answer = seconds_of(products)
        elif question == "memory":
            unit = 2**20 if sys.platform == "darwin" else 2**10
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        print(answer, flush=True)
    return 0


def shares(options: Sequence[str]) -> list[dict[str, Any]]:
    """Where the seconds of a command go, by the profiler: a row per part of `PARTS`, and what is left, the scheduling and the imports."""
    script = f"""
import sys
sys.path[0] = {str(ROOT)!r}
from benchmarks.engine import profile
profile({list(options)!r})
"""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", script]
        found = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds = json.loads(found)
    total = sum(seconds.values())
    return [{"part": part, "s": f"{s:.2f}", "share": f"{s / total:.0%}"} for part, s in seconds.items()]


def profile(options: Sequence[str]) -> None:
    """Runs a command here and prints the seconds of its parts as JSON."""
    profiler = cProfile.Profile()
    begin = time.perf_counter()
    with redirect_stdout(io.StringIO()), profiler:
        from bench.cli import main as run
        from bench.run import process
        from bench.train.reporter import Reporter

        # Here, where the profiler is, and not in a process of their own.
        process.run = lambda task, state=None: iter([process.Done(process._work(task, Reporter(state=state)))])
        run(list(options))
    total = time.perf_counter() - begin
    found = dict.fromkeys(PARTS, 0.0)
    statistics_of: Any = pstats.Stats(profiler)
    for (file, _, name), (_, _, _, cumulative, _) in statistics_of.stats.items():
        for part, functions in PARTS.items():
            if any(file.endswith(own) and name == function for own, function in functions):
                found[part] += cumulative
    print(json.dumps(found | {"the rest": total - sum(found.values())}))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table with a column for each name of the first row."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
