"""Training speed against pack size: `python benchmarks/pack_size.py --help`. Run by hand, on an idle machine.

Prints model-steps per second for each method and pack size, and the time of a pack relative to its models trained one by one with
the same code. Compare ratios within one run only.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402

from bench.train.engine import Job, Stack, use_one_thread  # noqa: E402
from datasets import datasets  # noqa: E402
from methods import Shape, methods  # noqa: E402


def seconds_per_step(name: str, size: int, device: str, fields: dict, steps: int, repeats: int) -> float:
    """Best of `repeats`, so that what other programs do counts little."""
    dataset = datasets["sparse-mixing"].make({})
    train = dataset.generate(np.random.SeedSequence(0)).train
    jobs = [Job(train, init_seed=i, noise_seed=i) for i in range(size)]
    times = []
    for repeat in range(repeats + 1):  # the first one warms up
        stack = Stack(
            methods[name].make(fields | {"steps": steps if repeat else 32}), Shape(*dataset.shape), jobs, device
        )
        start = time.perf_counter()
        stack.train()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / steps)
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--methods", default="vae,sparse-vae,ivae,flow-vae,synergy-vae,supervised")
    parser.add_argument("--sizes", default="1,4,8,16,32")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    use_one_thread()
    fields = {"width": arguments.width, "batch_size": arguments.batch_size}
    print(f"{'method':12} {'pack':>5} {'model-steps/s':>14} {'against one by one':>19}")
    for name in arguments.methods.split(","):
        alone = seconds_per_step(name, 1, arguments.device, fields, arguments.steps, arguments.repeats)
        for size in map(int, arguments.sizes.split(",")):
            step = seconds_per_step(name, size, arguments.device, fields, arguments.steps, arguments.repeats)
            print(f"{name:12} {size:5} {size / step:14.0f} {step / (size * alone):19.2f}", flush=True)


if __name__ == "__main__":
    main()
