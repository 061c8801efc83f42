"""Learning curves as files of the two programs that show them: TensorBoard and Weights & Biases. Nothing is sent anywhere."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from bench.registry import UsageError
from bench.report.figures.page import with_short_paths
from bench.report.results import Results
from bench.report.texts import place_text
from bench.run.store import with_arrays
from bench.statuses import OK
from bench.text import one_line

FOLDER = "tensorboard"  # of a run
WANDB = "wandb-trials"  # of a run; not "wandb", in which a user may have runs of their own
PROJECT = "synergy-bench"  # what Weights & Biases puts the trials of all runs in
LONGEST = 128  # letters that a group or a name may have there


def write(results: Results, folder: Path) -> int:
    """Writes FOLDER/LABEL/TRIAL of every trial that has a learning curve, in the place of what is there, and returns how many have."""
    from tensorboardX import SummaryWriter

    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    n_written = 0
    for row, steps, curve in _curves(results):
        n_written += 1
        label = one_line(row.label).replace("/", "_")
        with SummaryWriter(str(folder / FOLDER / label / row.trial_id), write_to_disk=True) as writer:
            for name, values in curve.items():
                for step, value in zip(steps, values.tolist(), strict=True):
                    if math.isfinite(value):
                        writer.add_scalar(one_line(name), value, step, walltime=row.finished_at)
    return n_written


def write_wandb(results: Results, folder: Path) -> int:
    """Writes WANDB/wandb/offline-run-TIME-TRIAL of the same trials, in the place of what is there, and returns how many they are.

    Each is a run of Weights & Biases that its user may send there with `wandb sync`: the curve step by step, the fields of data and method
    as its configuration, and the scores as its summary. Of the machine it says the operating system and the version of Python, and of a
    user's file no more than its name. Its identity is that of the trial, so that one that is sent twice is there once.
    """
    wandb, results = require_wandb(), with_short_paths(results)
    shutil.rmtree(folder / WANDB, ignore_errors=True)
    (folder / WANDB).mkdir()
    settings = wandb.Settings(
        mode="offline", root_dir=str(folder / WANDB), silent=True, console="off", disable_git=True, disable_code=True, host="",
        x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
    )  # fmt: skip
    fields = ["method", "dataset", *results.dataset_fields, *results.method_fields, "root_seed", "seed", "status"]
    scores = [name for name, score in results.scores.items() if not score.per_latent]
    n_written = 0
    for row, steps, curve in _curves(results):
        n_written += 1
        place = place_text({name: row[name] for name in (*results.cells, "seed")})
        run = wandb.init(
            project=PROJECT, group=results.manifest["name"][:LONGEST], id=row.trial_id, name=one_line(f"{row.label}, {place}")[:LONGEST],
            config={name: _plain(row[name]) for name in fields}, settings=settings,
        )  # fmt: skip
        for at, step in enumerate(steps):
            looked = {one_line(name): float(values[at]) for name, values in curve.items()}
            run.log({name: value for name, value in looked.items() if math.isfinite(value)}, step=step)
        run.summary.update({name: float(row[name]) for name in scores if pd.notna(row[name])})
        run.finish(exit_code=int(row.status != OK))
    wandb.teardown()
    return n_written


def require_wandb():
    """The package. Raises UsageError where it is not installed."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else it reports its own errors over the network
    try:
        import wandb
    except ImportError:
        raise UsageError("--wandb needs a package that is not installed: pip install '.[wandb]'") from None
    return wandb


def _curves(results: Results) -> Iterator[tuple[pd.Series, list[int], dict[str, np.ndarray]]]:
    """The row of every trial that has a learning curve, the steps at which it was looked at, and what was seen there by name."""
    for _, row in results.trials[results.trials["run"].isin(with_arrays(results.stores))].iterrows():
        curve = results.stores[row.run].curve(row)
        steps = [int(step) for step in curve.pop("step").tolist()]
        if steps:
            yield row, steps, curve


def _plain(value: object) -> object:
    """A value of a table as JSON has it; None where there is none."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value
