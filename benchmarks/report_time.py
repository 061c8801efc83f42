"""How long `report` takes, on a simulated run: 9 numbers of domains, 6 violations, 10 data seeds, 9 methods with floors and ceiling.

    python benchmarks/report_time.py

Prints seconds of the clock and of the processor, imports included; on a busy machine the second is the one to read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from datasets.oracle import NO, PROMISES, YES  # noqa: E402
from tests.simulated import simulated_run, simulated_trials  # noqa: E402

LEVELS = {
    "vae": 0.6, "sparse-vae": 0.7, "ivae": 0.75, "flow-vae": 0.8, "synergy-vae": 0.9,
    "supervised": 0.98, "fastica": 0.65, "pca": 0.55, "identity": 0.5,
}  # fmt: skip


def main() -> None:
    trials = simulated_trials(LEVELS, domains=range(2, 11), violations=np.arange(6) / 5, seeds=10)
    for promise in PROMISES:
        trials[promise] = [[YES, YES, NO, NO] if u < 6 else [YES] * 4 for u in trials.domains]
    trials["mcc_per_latent"] = [[score] * 4 for score in trials.mcc_spearman]
    with tempfile.TemporaryDirectory() as folder:
        simulated_run(Path(folder) / "run", trials)
        before, started = os.times(), time.perf_counter()
        command = [sys.executable, str(ROOT / "run_bench.py"), "report", str(Path(folder) / "run")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
        wall, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{len(trials)} trials: {wall:.1f} s, of which {cpu:.1f} s on the processor")


if __name__ == "__main__":
    main()
