"""The manifest of a run: every command with all that is needed to repeat it, and what a report must know to read the rows."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.plan import plugins
from bench.plan.identity import ENGINE_VERSION
from bench.plan.trials import Trial
from bench.run.store import Store
from bench.run.submissions import together
from bench.scores import SCORES, load_all
from bench.statuses import STATUSES
from datasets import DATA_VERSION, datasets
from methods import methods

SPLITS = (
    "train, validation and test are drawn independently from one generator, or are parts of a user's data; all scores but objective and consistency are on test, "
    "from posterior means; matchings and probes are fitted on validation."
)
TRAIN_S = "Seconds of training per trial: those of its pack divided by the trials in it."


def definitions() -> dict[str, str]:
    """What each score of a run is."""
    from datasets import oracle

    load_all()

    scores = {name: f"{score.definition} Source: {score.source}." for name, score in SCORES.items()}
    status = " ".join(f"{status.name}: {status.meaning}" for status in STATUSES.values())
    return scores | {"train_s": TRAIN_S, "status": status} | oracle.DEFINITIONS


def record(
    store: Store, config: dict[str, Any], trials: Sequence[Trial], command: str, definitions: dict[str, str]
) -> None:
    """Adds a command to the run's manifest.

    Kept are the facts of the methods and data sets that take part, and of the other methods of their ladders. They replace what an
    earlier command said of the same; the rest stays.
    """
    load_all()
    known = store.manifest() if store.has_manifest() else {}
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
    part = {trial.method for trial in trials}
    ladders = {methods[name].facts.ladder for name in part} - {""}
    rest = {entry.name: dataclasses.asdict(entry.facts) for entry in methods if entry.facts.ladder in ladders}
    facts = {
        "methods": rest | known.get("methods", {}) | {name: dataclasses.asdict(methods[name].facts) for name in part},
        "datasets": known.get("datasets", {})
        | {name: dataclasses.asdict(datasets[name].facts) for name in {trial.dataset for trial in trials}},
        "scores": known.get("scores", {}) | {name: score.facts for name, score in SCORES.items()},
    }
    store.write_manifest(
        {
            "name": store.folder.name,
            "commands": [*known.get("commands", []), entry],
            "definitions": known.get("definitions", {}) | definitions,
            "splits": SPLITS,
            **facts,
            **together([known]),
        }
    )


def versions() -> dict[str, str | None]:
    """The version of Python and of every package that can move a number, installed plug-ins included."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "ray")
    installed = {point.dist.name: point.dist.version for point in plugins.installed() if point.dist}
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}, **installed}


def _version(package: str) -> str | None:
    """None for what is not installed: without Ray a run in one process works."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


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
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str | None:
        try:
            return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "modified": None if status is None else bool(status)}
