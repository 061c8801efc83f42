"""What a run leaves beside its rows: the manifest before, tables and figures after. Trains nothing."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from bench import figures, html, leaderboard, plugins, recovery, synergy
from bench.store import Store
from bench.trials import ENGINE_VERSION, Trial
from datasets import DATA_VERSION, datasets
from methods import methods
from registry import UsageError

DEFINITIONS = {
    "objective": "The method's own loss on validation, penalties included, mean per sample (nats where it is a likelihood); "
    "it picks among the restarts of one trial, and compares nothing else.",
    "recon_nmse": "Squared error of the observed variables reconstructed from the posterior means, over their variance, on test.",
    "train_s": "Seconds of training per trial: those of its pack divided by the trials in it.",
}


SPLITS = (
    "train, validation and test are drawn independently from one generator; all scores are on test, "
    "from posterior means; matchings and probes are fitted on validation."
)


def definitions() -> dict[str, str]:
    """What each score of a run is."""
    from bench import metrics
    from datasets import oracle

    return metrics.DEFINITIONS | DEFINITIONS | oracle.DEFINITIONS


def record(
    store: Store, config: dict[str, Any], trials: Sequence[Trial], command: str, definitions: dict[str, str]
) -> None:
    """Adds a command to the run's manifest, with everything needed to repeat it and to read its numbers."""
    try:
        history = store.manifest()["commands"]
    except UsageError:
        history = []
    entry = {
        "command": command,
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "config": config,
        "code": {f"{t.method} on {t.dataset}": t.code for t in trials},
        "engine_version": ENGINE_VERSION,
        "data_version": DATA_VERSION,
        "git": git_state(),
        "machine": machine(),
        "versions": versions(),
    }
    store.write_manifest(
        {
            "name": store.folder.name,
            "commands": [*history, entry],
            "definitions": definitions,
            "splits": SPLITS,
        }
    )


def write(store: Store, console: Console, style: str | None = None) -> pd.DataFrame:
    """Compacts the rows, writes leaderboard, figures and report.html, prints the leaderboard. Returns all rows.

    `style` is a matplotlib style for the figures, by name or file.
    """
    rows = store.compact()
    if rows.empty:
        raise UsageError(f"the run {store.folder.name!r} has no finished trials yet")
    trials, superseded = current(rows, store.manifest())
    trials, replaced = latest(trials)
    superseded += replaced
    # Seeds of different root seeds are different data.
    trials["seed"] = trials.groupby(["root_seed", "seed"]).ngroup() if trials.root_seed.nunique() > 1 else trials.seed
    method_fields, dataset_fields = (
        # What is no longer registered has its rows still, and no fields of its own.
        sorted({f for name in trials[kind].unique() if name in registry.names() for f in registry[name].fields})
        for kind, registry in (("method", methods), ("dataset", datasets))
    )
    fields = method_fields, dataset_fields
    leaderboard.write(trials, *fields, store.folder)
    verdicts = synergy.write(trials, *fields, store.folder)
    recovery.write(trials, method_fields, store.folder)
    representations, where = example(store, trials, *fields)
    figures.draw_all(trials, *fields, representations, store.folder / "figures", where, style)
    html.write(trials, *fields, store.manifest(), store.folder, verdicts)
    console.print(leaderboard.render(leaderboard.table(trials, method_fields)), soft_wrap=True, markup=False)
    for verdict in verdicts:
        console.print(verdict, soft_wrap=True, markup=False)
    if superseded:
        console.print(
            f"{superseded} trials of an earlier version of the code or the data are kept in trials.parquet and left out here"
        )
    console.print(f"tables, figures and report.html: {store.folder}", soft_wrap=True)
    return rows


def current(rows: pd.DataFrame, manifest: dict[str, Any]) -> tuple[pd.DataFrame, int]:
    """Rows made by the code with which their method last took part in a command of this run, and how many others there are."""
    codes: dict[str, str] = {}
    for command in manifest["commands"]:
        codes |= command["code"]
    keep = rows.code == (rows.method + " on " + rows.dataset).map(codes)
    return rows[keep].reset_index(drop=True), int((~keep).sum())


def latest(trials: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The last row of each question (data set, method, their fields, seed), and how many are not: a user's file may have changed."""
    fields = sorted({f for r in (methods, datasets) for entry in r for f in entry.fields if f in trials})
    question = trials[["dataset", "method", "root_seed", "seed", *fields]].astype(str)
    keep = ~question.duplicated(keep="last")
    return trials[keep].reset_index(drop=True), int((~keep).sum())


def example(
    store: Store, trials: pd.DataFrame, method_fields: Sequence[str], dataset_fields: Sequence[str]
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], str]:
    """(z, z_hat, domains) by label, of one seed of one cell, and in words of which: the one most methods finished, then the first."""
    done = trials.assign(label=leaderboard.labels(trials, method_fields))
    done = done[(done.status == "ok") & done.has_truth]
    if done.empty:
        return {}, ""
    by = [field for field in dataset_fields if field in done] + ["dataset", "root_seed", "seed"]
    groups = [group for _, group in done.groupby(by, dropna=False)]
    chosen = max(groups, key=lambda group: group.label.nunique())
    latents = {row.label: store.latents(row) for _, row in chosen.iterrows()}
    first = chosen.iloc[0]
    cell = [f"{field}={leaderboard.value_text(first[field])}" for field in leaderboard.cells(trials, dataset_fields)]
    where = ", ".join([f"data set {first.dataset}", *cell, f"data seed {first.seed}"])
    return {label: (kept["z"], kept["z_hat"], kept["domains"].astype(int)) for label, kept in latents.items()}, where


def versions() -> dict[str, str]:
    """Of Python and of every package that can move a number, installed plugins included."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "ray")
    installed = {point.dist.name: point.dist.version for point in plugins.installed() if point.dist}
    return {"python": platform.python_version(), **{name: version(name) for name in packages}, **installed}


def machine() -> dict[str, Any]:
    return {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


def git_state() -> dict[str, Any]:
    """Commit, and whether tracked files differ from it; nulls outside a repository."""
    root = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str | None:
        try:
            return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "modified": None if status is None else bool(status)}
