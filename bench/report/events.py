"""Learning curves as event files, which TensorBoard reads: one folder for each trial."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from bench.report.results import Results
from bench.run.store import with_arrays
from bench.text import one_line

FOLDER = "tensorboard"  # of a run


def write(results: Results, folder: Path) -> int:
    """Writes FOLDER/LABEL/TRIAL of every trial that has a learning curve, in the place of what is there, and returns how many have."""
    from tensorboardX import SummaryWriter

    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    n_written = 0
    for _, row in results.trials[results.trials["run"].isin(with_arrays(results.stores))].iterrows():
        curve = results.stores[row.run].curve(row)
        steps = curve.pop("step").tolist()
        if not steps:
            continue
        n_written += 1
        label = one_line(row.label).replace("/", "_")
        with SummaryWriter(str(folder / FOLDER / label / row.trial_id), write_to_disk=True) as writer:
            for name, values in curve.items():
                for step, value in zip(steps, values.tolist(), strict=True):
                    if math.isfinite(value):
                        writer.add_scalar(one_line(name), value, int(step), walltime=row.finished_at)
    return n_written
