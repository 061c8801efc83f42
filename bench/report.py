"""What a run leaves beside its rows: the manifest before, tables and figures after; those of several runs together. Trains nothing."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from bench import comparisons, figures, html, leaderboard, plugins, recovery, synergy
from bench.store import Store
from bench.trials import ENGINE_VERSION, Trial
from datasets import DATA_VERSION, datasets
from methods import methods
from registry import UsageError, nearest

DEFINITIONS = {
    "objective": "The method's own loss on validation (of a GAN, the negative evidence lower bound of its generator and encoder), penalties "
    "on the decoder included, mean per sample (nats where it is a likelihood); "
    "it picks among the restarts of one trial, and compares nothing else.",
    "recon_nmse": "Squared error of the observed variables reconstructed from the posterior means, over their variance, on test.",
    "consistency": "Mean over pairs of a trial's restarts that were trained to the end of mcc_spearman of the one's estimates against the "
    "other's, on validation and matched there. Needs no ground truth. Empty with fewer than two such restarts (4 restarts leave one, 8 two).",
    "train_s": "Seconds of training per trial: those of its pack divided by the trials in it.",
}


SPLITS = (
    "train, validation and test are drawn independently from one generator; all scores but objective and consistency are on test, "
    "from posterior means; matchings and probes are fitted on validation."
)


def definitions() -> dict[str, str]:
    """What each score of a run is."""
    from bench import metrics
    from datasets import oracle

    scores = {name: f"{text} Source: {metrics.SOURCES[name]}." for name, text in metrics.DEFINITIONS.items()}
    return scores | DEFINITIONS | oracle.DEFINITIONS


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


@dataclasses.dataclass(frozen=True)
class Results:
    """What is reported together: the trials of one run, or of several, a part of them perhaps."""

    trials: (
        pd.DataFrame
    )  # of each question its last row, by the last code and data; `run` and data_seed (ROOT/SEED) are columns
    method_fields: list[str]
    dataset_fields: list[str]
    manifest: dict[str, Any]  # of several runs, one manifest with the commands of all
    n_superseded: int  # trials left out, of an earlier version of the code or the data
    stores: dict[str, Store]  # by run


def gather(stores: Sequence[Store], where: str | None = None) -> Results:
    """The results of runs together, those trials for which the condition `where` holds. Compacts each run.

    Raises UsageError where a run has no trials, where the data versions of runs disagree, and for a condition that has no meaning here.
    """
    short = len({store.folder.name for store in stores}) == len(stores)
    runs = {store.folder.name if short else str(store.folder): store for store in stores}
    manifest = merged({name: store.manifest() for name, store in runs.items()})
    rows = {name: store.compact().assign(run=name) for name, store in runs.items()}
    for name, own in rows.items():
        if own.empty:
            raise UsageError(f"the run {name!r} has no finished trials yet")
    columns = dict.fromkeys(column for own in rows.values() for column in own)
    # Without the empty columns, of which pandas would make another type.
    parts = [own.dropna(axis=1, how="all") for own in rows.values()]
    everything = pd.concat(parts, ignore_index=True).reindex(columns=list(columns))
    everything = everything.sort_values("finished_at").drop_duplicates("trial_id", keep="last")
    trials, superseded = current(everything, manifest)
    if trials.empty:
        raise UsageError(f"all {superseded} trials are of earlier code or data; run the same command again")
    trials, replaced = latest(trials)
    trials["data_seed"] = trials.root_seed.astype(str) + "/" + trials.seed.astype(str)
    # Seeds of different root seeds are different data.
    trials["seed"] = trials.groupby(["root_seed", "seed"]).ngroup() if trials.root_seed.nunique() > 1 else trials.seed
    if where:
        trials = select(trials, where)
        manifest = manifest | {"name": f"{manifest['name']}, where {where}"}
    method_fields, dataset_fields = (
        # What is no longer registered has its rows still, and no fields of its own.
        sorted({f for name in trials[kind].unique() if name in registry.names() for f in registry[name].fields})
        for kind, registry in (("method", methods), ("dataset", datasets))
    )
    return Results(trials, method_fields, dataset_fields, manifest, superseded + replaced, runs)


def merged(manifests: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One manifest of all runs: their commands, from the first to the last, and the definitions of the newest.

    Raises UsageError where their last commands drew data by different versions of the generators.
    """
    versions = {name: manifest["commands"][-1]["data_version"] for name, manifest in manifests.items()}
    if len(set(versions.values())) > 1:
        each = ", ".join(f"{name} has version {found}" for name, found in versions.items())
        raise UsageError(
            f"these runs are not on the same data, so their scores cannot stand side by side: of the data, {each}"
        )
    commands = [command for manifest in manifests.values() for command in manifest["commands"]]
    newest = max(manifests.values(), key=lambda manifest: manifest["commands"][-1]["started_at"])
    return newest | {
        "name": " + ".join(manifests),
        "commands": sorted(commands, key=lambda command: command["started_at"]),
    }


def select(trials: pd.DataFrame, where: str) -> pd.DataFrame:
    """The trials for which a condition on their columns holds, as `domains <= 4 and method != "pca"`."""
    try:
        chosen = trials.eval(where, engine="python", local_dict={}, global_dict={})
    except pd.errors.UndefinedVariableError as error:
        name = str(error).split("'")[1]
        raise UsageError(f"--where {where!r}: the trials have no field {name!r}; {nearest(name, trials)}") from None
    except Exception as error:
        raise UsageError(f"--where {where!r} cannot be read: {error}; write a condition as domains<=4") from None
    if not (isinstance(chosen, pd.Series) and chosen.dtype == bool):
        raise UsageError(f"--where {where!r} is no condition; write one as domains<=4, or method=='ivae'")
    if not chosen.any():
        raise UsageError(f"--where {where!r} holds for none of the {len(trials)} trials")
    return trials[chosen].reset_index(drop=True)


def write(
    results: Results,
    folder: Path,
    console: Console,
    by: Sequence[str] = (),
    style: str | None = None,
    command: str | None = None,
) -> None:
    """Tables, figures and report.html in `folder`; prints the leaderboard, one for each combination of the fields `by`.

    `style` is a matplotlib style for the figures, by name or file; `command` the one to repeat after those of the runs.
    """
    trials, fields = results.trials, (results.method_fields, results.dataset_fields)
    for field in by:
        if field not in trials:
            raise UsageError(f"--by {field}: the trials have no such field; {nearest(field, trials)}")
    boards = leaderboard.write(trials, *fields, folder, by)
    pairs = comparisons.write(trials, *fields, folder)
    verdicts = synergy.write(trials, *fields, folder)
    recovery.write(trials, results.method_fields, folder)
    representations, where = example(results)
    figures.draw_all(trials, *fields, representations, folder / "figures", where, style)
    html.write(trials, *fields, boards, pairs, results.manifest, folder, verdicts, by, command)
    if folder not in [store.folder for store in results.stores.values()]:
        trials.to_csv(folder / "trials.csv", index=False)
    for name, board in boards.items():
        console.print(
            "\n".join([*[f"{name}:"] * bool(name), leaderboard.render(board), ""]), soft_wrap=True, markup=False
        )
    for verdict in verdicts:
        console.print(verdict, soft_wrap=True, markup=False)
    if results.n_superseded:
        console.print(
            f"{results.n_superseded} trials of an earlier version of the code or the data are kept in the run and left out here",
            soft_wrap=True,
        )
    console.print(f"tables, figures and report.html: {folder}", soft_wrap=True, markup=False)


def current(rows: pd.DataFrame, manifest: dict[str, Any]) -> tuple[pd.DataFrame, int]:
    """Rows made by the code with which their method last took part in a command, on the last data; how many others there are."""
    codes: dict[str, str] = {}
    for command in manifest["commands"]:
        if command["data_version"] == manifest["commands"][-1]["data_version"]:
            codes |= command["code"]
    keep = rows.code == (rows.method + " on " + rows.dataset).map(codes)
    return rows[keep].reset_index(drop=True), int((~keep).sum())


def latest(trials: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The last row of each question (data set, method, their fields, seed), and how many are not: a user's file may have changed."""
    fields = sorted({f for r in (methods, datasets) for entry in r for f in entry.fields if f in trials})
    question = trials[["dataset", "method", "root_seed", "seed", *fields]].astype(str)
    keep = ~question.duplicated(keep="last")
    return trials[keep].reset_index(drop=True), int((~keep).sum())


def example(results: Results) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """What `Store.latents` has, by label, of one seed of one cell, and in words of which: the one most methods finished, then the first."""
    trials, dataset_fields = results.trials, results.dataset_fields
    done = trials.assign(label=leaderboard.labels(trials, results.method_fields))
    kept = [name for name, store in results.stores.items() if store.representation_folder.exists()]
    done = done[(done.status == "ok") & done.has_truth & done.run.isin(kept)]
    if done.empty:
        return {}, ""
    by = [field for field in dataset_fields if field in done] + ["dataset", "root_seed", "seed"]
    groups = [group for _, group in done.groupby(by, dropna=False)]
    chosen = max(groups, key=lambda group: group.label.nunique())
    latents = {row.label: results.stores[row.run].latents(row) for _, row in chosen.iterrows()}
    first = chosen.iloc[0]
    cell = [f"{field}={leaderboard.value_text(first[field])}" for field in leaderboard.cells(trials, dataset_fields)]
    where = ", ".join([f"data set {first.dataset}", *cell, f"data seed {first.seed}"])
    return latents, where


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
