"""The results of one run on disk: rows as fsynced JSON lines per pack, representations beside them, a manifest, compacted tables.

results/runs/<name>/
    manifest.json               what was run, with what, where
    parts/<pack>.jsonl          one row per trial, written when the pack finishes
    representations/<pack>.npz  per trial, estimated and true latents of the first test points, and the support of the mixing
    trials.parquet, trials.csv  the rows, compacted
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from registry import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from bench.trials import Trial


class Store:
    """One run's folder. A pack is written whole or not at all, so that a killed run loses only the packs in flight."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.parts = self.folder / "parts"
        self.representation_folder = self.folder / "representations"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for one process. Raises UsageError if another one is writing it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"the run {self.folder.name!r} is being written by another process; choose another --name"
                ) from None
            yield

    def write_pack(self, pack_id: str, rows: list[dict[str, Any]], latents: dict[str, np.ndarray]) -> None:
        """Rows of one pack, and the arrays that `latents` gives back, by trial and name, durable when this returns."""
        if latents:
            path = self.representation_folder / f"{pack_id}.npz"
            _write_atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, **latents))
        lines = "".join(json.dumps(_plain(row)) + "\n" for row in rows)
        _write_atomically(self.parts / f"{pack_id}.jsonl", lambda file: file.write(lines.encode()))

    def rows(self) -> list[dict[str, Any]]:
        """The last row of every trial, oldest first. Raises UsageError for a run of which only the table was kept."""
        if self._is_kept_table():
            raise UsageError(f"of the run {self.folder.name!r} only the table was kept; choose another --name")
        rows = [json.loads(line) for path in self.parts.glob("*.jsonl") for line in path.read_text().splitlines()]
        rows.sort(key=lambda row: row["finished_at"])
        return list({row["trial_id"]: row for row in rows}.values())

    def finished(self, time_limit: float | None = None) -> set[str]:
        """Trials that need no more training: all but those whose process died (`crashed`), or whose time was up under a lower limit."""

        def again(row: dict[str, Any]) -> bool:
            raised = time_limit is None or time_limit > row.get("time_limit", math.inf)
            return row["status"] == "crashed" or (row["status"] == "timed-out" and raised)

        return {row["trial_id"] for row in self.rows() if not again(row)}

    def missing(self, trials: Iterable[Trial], time_limit: float | None = None) -> list[Trial]:
        """Those of `trials` that are not finished."""
        finished = self.finished(time_limit)
        return [trial for trial in trials if trial.trial_id not in finished]

    def compact(self) -> pd.DataFrame:
        """Writes trials.parquet and trials.csv, and returns them. A run of which only the table was kept is read from it."""
        import pandas as pd

        if self._is_kept_table():
            return pd.read_parquet(self.folder / "trials.parquet")
        rows = pd.DataFrame(self.rows())
        _write_atomically(self.folder / "trials.parquet", lambda file: rows.to_parquet(file))
        _write_atomically(self.folder / "trials.csv", lambda file: rows.to_csv(file, index=False))
        return rows

    def latents(self, row: pd.Series) -> dict[str, np.ndarray]:
        """`z_hat`, `z` (n_points, .) and `domains` (n_points,) of one trial's first test points.

        And, where there is a decoder and the truth is known, `support` (n_observed, n_latents) and the `strength` of the decoder's edges
        (n_observed, n_estimated).
        """
        start = f"{row.trial_id}."
        with np.load(self.representation_folder / f"{row.pack_id}.npz") as file:
            return {key.removeprefix(start): file[key] for key in file.files if key.startswith(start)}

    def _is_kept_table(self) -> bool:
        return not self.parts.exists() and (self.folder / "trials.parquet").exists()

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        self.write_text("manifest.json", json.dumps(manifest, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        _write_atomically(self.folder / name, lambda file: file.write(text.encode()))

    def manifest(self) -> dict[str, Any]:
        """Raises UsageError if the folder holds no run."""
        try:
            return json.loads((self.folder / "manifest.json").read_text())
        except FileNotFoundError:
            raise UsageError(f"there is no run in {self.folder}") from None


def _write_atomically(path: Path, write) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _plain(value: Any) -> Any:
    """`value` as strict JSON: numbers that are not finite become null, numpy's become Python's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
