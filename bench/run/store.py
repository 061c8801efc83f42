"""The results of one run on disk: rows as fsynced JSON lines per pack, representations beside them, a manifest, compacted tables.

results/runs/<name>/
    manifest.json               what was run, with what, where
    planned.csv                 the trials that the run's commands asked for
    parts/<pack>.jsonl          one row per trial, written when the pack finishes, or its trials do
    representations/<pack>.npz  per trial, estimated and true latents of the first test points, the support of the mixing, the learning curve
    models/<pack>.npz           per trial, what its model is built of again, if it was asked for
    latents/<trial>.parquet     estimated latents of every point, if they were asked for
    charts/<chart>.npz          the common start of all methods on one data set
    states/<pack>.npz           what a pack that is not done goes on from
    trials.parquet, trials.csv  the rows, compacted
    .finished                   which trials the parts say are finished, so that unchanged parts need not be read again
    .compacted                  of which parts the tables are, so that these need not be read again for a report
    damaged/                    parts that could not be read whole when the run went on: their trials were trained again

Reading writes nothing, takes no lock, and never ends at a damage: what can be read is read, the rest is in `Store.damages`, in words.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import functools
import hashlib
import io
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import orjson

from bench.files import NoArrays, array_names, in_words, largest, open_file, read_arrays, read_bytes
from bench.registry import ROLES, UsageError, nearest
from bench.scores import CURVE, HEADLINE, LOOK, TERM
from bench.statuses import OK, STATUSES, TIMED_OUT
from bench.text import cell, csv_pieces, of_cell, one_line
from bench.train.kept import KINDS as KEPT
from bench.train.kept import LATENTS, MODELS, kind_of, table_of

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan.trials import Trial

# Columns with their types, or all values that they may have: of every row, of a run's rows, of a search's, and of rows that have them.
ROW = {"trial_id": str, "method": str, "status": tuple(STATUSES), "finished_at": float}
TRIAL = ROW | {"dataset": str, "role": ROLES, "seed": int, "root_seed": int, "code": str}
SEARCH = ROW | {"question": str, "number": int, "model_steps": int, "history": list}
MAYBE = {"error": str, "train_s": float, "time_limit": float, "pack_id": str, "has_truth": bool, HEADLINE: float}
COMMAND = {
    "command": str,
    "started_at": str,
    "config": dict,
    "code": dict,
    "engine_version": int,
    "data_version": int,
    "git": dict,
    "machine": dict,
    "versions": dict,
}
MANIFEST = {"name": str, "commands": list, "definitions": dict, "splits": str}
ARCHIVE = "archive"  # the column of a row that says which archive it came in (`bench.run.archive`)
INDEX = ".finished"  # what of the parts says which trials are finished, so that not all of them are read again
Stamps = list[tuple[str, list[int]]]  # of parts, by name
COMPACTED = ".compacted"
ARROW = {
    str: "string",
    int: "int64",
    float: "float64",
    bool: "bool_",
}  # types of lists' values, and what they are in Arrow
CHUNK = 50_000  # rows that are read before a table is made of them: a dictionary takes ten times the memory
SETTLED_NS = 2 * 10**9
PLANNED = ("trial_id", "method", "dataset", "code")
KINDS = {
    str: "a text",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    dict: "a table of names and values",
    list: "a list",
}


class Store:
    """One run's folder. A pack is written whole or not at all, so that a killed run loses only the packs in flight.

    `needed` names the columns that each of its rows must have, with their types: `TRIAL` for a run, `SEARCH` for a search.
    """

    def __init__(self, folder: Path | str, needed: Mapping[str, Any] = TRIAL):
        self.folder = Path(folder)
        self.needed = needed
        self.parts = self.folder / "parts"
        self.representation_folder = self.folder / "representations"
        self.array_folders = {"": self.representation_folder, MODELS: self.folder / MODELS}  # by kind, a file per pack
        self.damages: list[str] = []  # what could not be read so far, a sentence each
        self._is_locked = False
        self._known: tuple[pd.DataFrame, Stamps] | None = (
            None  # `_tabulated`, while the lock lets nobody else change it
        )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for one process. Raises UsageError if another one is writing it, or if it cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            check_links(self.folder)
            # Neither through a link nor waiting for a pipe.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            handle = os.fdopen(os.open(self.folder / ".lock", flags, 0o666), "rb")
        except OSError as error:
            raise UsageError(f"the run's folder {self.folder} cannot be written ({error.strerror})") from None
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"the run {self.folder.name!r} is being written by another process; choose another --name"
                ) from None
            except OSError as error:  # some file systems have no locks
                raise UsageError(f"the run's folder {self.folder} cannot be locked ({error.strerror})") from None
            self._is_locked = True
            try:
                self._end_journals()
                yield
            finally:
                self._is_locked, self._known = False, None

    # --- rows

    def write_pack(self, pack_id: str, rows: list[dict[str, Any]], latents: Mapping[str, np.ndarray]) -> None:
        """Rows of one pack, and the arrays that are kept of it, as `TRIAL.NAME`, durable when this returns.

        They are what `latents` gives back, and what `bench.train.kept` names.
        """
        import pandas as pd

        self._known = None
        by_kind = _by_kind(latents)
        for kind, folder in self.array_folders.items():
            arrays = {
                f"{trial}.{name}": array for trial, own in by_kind.get(kind, {}).items() for name, array in own.items()
            }
            if arrays:
                _write_arrays(folder / f"{pack_id}.npz", arrays)
        for trial, own in by_kind.get(LATENTS, {}).items():
            write_atomically(self._latents_path(trial), functools.partial(pd.DataFrame.to_parquet, table_of(own)))
        write_text(self.parts / f"{pack_id}.jsonl", "".join(json.dumps(_plain(row)) + "\n" for row in rows))

    def add_rows(self, pack_id: str, rows: list[dict[str, Any]], latents: Mapping[str, np.ndarray]) -> None:
        """The same, beside what is there of other trials of the pack."""
        path = self.parts / f"{pack_id}.jsonl"
        if path.exists():
            new = {row["trial_id"] for row in rows}
            rows = [*(row for row in self._read(path)[0] if row["trial_id"] not in new), *rows]
            kept = self.pack_latents(pack_id) or {}
            latents = {name: array for name, array in kept.items() if name.split(".")[0] not in new} | dict(latents)
        self.write_pack(pack_id, rows, latents)

    def finished_in(self, pack_id: str) -> set[str]:
        """Trials of which a part has rows."""
        path = self.parts / f"{pack_id}.jsonl"
        return {row["trial_id"] for row in self._read(path)[0]} if path.exists() else set()

    def rows(self) -> list[dict[str, Any]]:
        """The last whole row of every trial, oldest first. Raises UsageError for a run of which only the table was kept."""
        return _last([row for path in self._part_files() for row in self._read(path)[0]])

    def packs(self) -> dict[str, tuple[list[dict[str, Any]], bool]]:
        """By the name of each part, its whole rows, and whether these are all that it holds."""
        return {path.stem: self._read(path) for path in self._part_files()}

    def finished(self, time_limit: float | None = None) -> set[str]:
        """Trials that need no more training: all but those of which `STATUSES` says otherwise, or whose time was up under a lower limit.

        Trials of a damaged part are not finished. Under `lock` such a part is moved into the folder `damaged`, so that it is not in the
        way of its trials' new rows.
        """

        def again(status: str, former: float | None) -> bool:
            raised = time_limit is None or time_limit > (math.inf if former is None else former)
            return STATUSES[status].runs_again or (status == TIMED_OUT and raised)

        return {trial_id for trial_id, (status, limit) in self._last_statuses().items() if not again(status, limit)}

    def _last_statuses(self) -> dict[str, tuple[str, float | None]]:
        """By trial its last status, and the time limit under which it ended. See `finished` for damaged parts."""
        known, kept = self._index(), {}
        for path in self._part_files():
            stamp = _stamp(path)
            if stamp and path.name in known and known[path.name][0] == stamp:
                kept[path.name] = known[path.name]
                continue
            rows, is_whole = self._read(path)
            if is_whole:
                found = [(row["finished_at"], row["trial_id"], row["status"], row.get("time_limit")) for row in rows]
                kept[path.name] = [stamp, found]
            elif self._is_locked:
                self.set_aside(path, "its trials are trained again")
        if self._is_locked:
            self._write_index({name: part for name, part in kept.items() if part[0]}, known)
        flat = sorted((row for _, found in kept.values() for row in found), key=lambda row: row[0])
        return {trial_id: (status, limit) for _, trial_id, status, limit in flat}

    def _index(self) -> dict[str, list[Any]]:
        """By part its stamp and, of each row, what `finished` must know; empty where no index was kept that is whole and of these rules."""
        try:
            head, _, text = read_bytes(self.folder / INDEX).partition(b"\n")
            return orjson.loads(text) if head == self._seal(text) else {}
        except (OSError, ValueError):
            return {}

    def _write_index(self, parts: dict[str, list[Any]], former: dict[str, list[Any]]) -> None:
        if parts != former:
            text = orjson.dumps(parts)
            write_bytes(self.folder / INDEX, self._seal(text) + b"\n" + text)

    def _seal(self, text: bytes) -> bytes:
        """What a whole index begins with: a hash of it, and of what its rows were checked for."""
        rules = repr((sorted(self.needed.items(), key=str), MAYBE, STATUSES))
        return hashlib.sha256(rules.encode() + text).hexdigest().encode()

    def missing(self, trials: Iterable[Trial], time_limit: float | None = None) -> list[Trial]:
        """Those of `trials` that are not finished."""
        finished = self.finished(time_limit)
        return [trial for trial in trials if trial.trial_id not in finished]

    def table(self) -> pd.DataFrame:
        """The rows as a table; a column that mixes texts and numbers is text. Raises UsageError where no table can be read.

        The tables that `compact` wrote are read in place of the parts for as long as neither they nor the parts have changed.
        """
        if self.is_kept_table():
            return self._kept_table()
        return self._tabulated()[0]

    def _kept_table(self) -> pd.DataFrame:
        path = self.folder / "trials.parquet"
        try:
            table = _read_table(path)
        except Exception as error:  # whatever a reader of binary files may find
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise UsageError(f"{path} is no table that can be read ({reason})") from None
        reasons = [flaw(_plain(row), self.needed, MAYBE) for row in table.to_dict("records")]
        flawed = [place for place, reason in enumerate(reasons) if reason]
        if flawed:
            self._note(path, f", row {flawed[0] + 1} is left out: {reasons[flawed[0]]}", len(flawed) - 1)
        return settled(table[[not reason for reason in reasons]].reset_index(drop=True))

    def compact(self) -> pd.DataFrame:
        """Writes trials.parquet and trials.csv, unless they are of these parts, and returns their table.

        What was kept of a run of old stays as it is.
        """
        if self.is_kept_table():
            return self._kept_table()
        table, stamps = self._tabulated()
        if self._is_compacted(stamps) is None:
            write_atomically(self.folder / "trials.parquet", functools.partial(_write_parquet, table))
            pieces = (piece.encode("utf-8", "replace") for piece in csv_pieces(table))
            write_atomically(self.folder / "trials.csv", lambda file: file.writelines(pieces))
            is_kept = stamps and all(stamp for _, stamp in stamps) and _is_kept_by_parquet(table)
            mark = self._mark(stamps, read_bytes(self.folder / "trials.parquet")) if is_kept else b""
            write_bytes(self.folder / COMPACTED, mark)
        return table

    def _tabulated(self) -> tuple[pd.DataFrame, Stamps]:
        """The table of the parts, and their stamps from before they were read; without stamps where a part is damaged."""
        if self._known is not None:
            return self._known
        stamps = [(path.name, _stamp(path)) for path in self._part_files()]
        content = self._is_compacted(stamps)
        if content is not None:
            found = _of_parquet(content), stamps
        else:
            table, are_whole = self._of_parts()
            found = table, stamps if are_whole else []
        if self._is_locked:
            self._known = found
        return found

    def _is_compacted(self, stamps: Stamps) -> bytes | None:
        """What trials.parquet holds, if that is the table of parts with these stamps and trials.csv is there too; else None."""
        try:
            mark, content = (read_bytes(self.folder / name) for name in (COMPACTED, "trials.parquet"))
            return content if mark and mark == self._mark(stamps, content) else None
        except OSError:
            return None

    def _mark(self, stamps: Stamps, content: bytes) -> bytes:
        """What `.compacted` holds while trials.parquet, with this content, and trials.csv are of parts with these stamps."""
        text = os.stat(self.folder / "trials.csv")
        found = [stamps, hashlib.sha256(content).hexdigest(), text.st_size, text.st_mtime_ns]
        return self._seal(repr(found).encode("utf-8", "surrogateescape"))

    def _of_parts(self) -> tuple[pd.DataFrame, bool]:
        """The table of the parts' rows, and whether these are all that the parts hold."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        tables: list[pd.DataFrame] = []
        are_whole = True
        for path in self._part_files():
            found, is_whole = self._read(path)
            rows += found
            are_whole &= is_whole
            if len(rows) >= CHUNK:
                tables.append(_table_of(rows))
                rows = []
        if not tables:
            return settled(_table_of(_last(rows))), are_whole
        tables += [_table_of(rows)] * bool(rows)
        mixed = _mixed(tables)
        tables = _with_like_lists(tables)
        columns = list(dict.fromkeys(name for table in tables for name in table))
        # Without the empty columns, of which pandas would make another type.
        parts = [table.drop(columns=[n for n in mixed if n in table]).dropna(axis=1, how="all") for table in tables]
        del tables
        together = pd.concat(parts, ignore_index=True).reindex(columns=columns)
        del parts
        for name in mixed:  # each table has made numbers of its own values, as 3.0 of 3
            values = [row.get(name) for path in self._part_files() for row in self._read(path)[0]]
            together[name] = pd.Series(values, dtype=object)
        return settled(with_arrow_lists(last_rows(together))), are_whole

    def is_kept_table(self) -> bool:
        """Whether of the run only the table and the manifest were kept."""
        return not self.parts.exists() and (self.folder / "trials.parquet").exists()

    def _part_files(self) -> list[Path]:
        if self.is_kept_table():
            raise UsageError(f"of the run {self.folder.name!r} only the table was kept; choose another --name")
        try:
            return sorted(path for path in self.parts.iterdir() if path.suffix == ".jsonl")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(f"{self.parts} cannot be read ({error.strerror})") from None

    def _read(self, path: Path) -> tuple[list[dict[str, Any]], bool]:
        """The whole rows of a part, and whether these are all that it holds; else the first flaw is noted."""
        try:
            text = read_bytes(path)
        except OSError as error:
            self._note(path, f" cannot be read ({error.strerror})")
            return [], False
        if not text:
            self._note(path, " is empty")
            return [], False
        lines = text.removesuffix(b"\n").split(b"\n")
        rows = _rows(text, lines)
        if are_whole(rows, self.needed, MAYBE):
            return rows, True
        rows, flaws = [], []
        for number, line in enumerate(lines, 1):
            row, found = self._row(line)
            if found:
                flaws.append(f", line {number} is left out: {found}")
            else:
                rows.append(row)
        if flaws:
            self._note(path, flaws[0], len(flaws) - 1)
        return rows, not flaws

    def _row(self, line: bytes) -> tuple[dict[str, Any], str]:
        """The row that a line holds, or what is wrong with it."""
        if not line.strip():
            return {}, "the line is blank"
        try:
            row = json.loads(line)
            if b"\\ud" in line:  # half a character, which no table can hold
                row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return {}, "the line is cut off, or no JSON"
        return row, flaw(row, self.needed, MAYBE)

    def set_aside(self, path: Path, then: str) -> None:
        """Moves a damaged part; nothing is deleted. `then` says what becomes of its trials."""
        folder = self.folder / "damaged"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder}, for parts that are damaged, cannot be written ({error.strerror})") from None
        number = sum(other.name.startswith(path.name) for other in folder.iterdir())
        os.replace(path, folder / (f"{path.name}.{number}" if number else path.name))
        self.note(f"{self._name(path)} is now in {folder.name}/, and {then}")

    def note(self, damage: str) -> None:
        """Adds a sentence to `damages`, once."""
        damage = one_line(damage)
        if damage not in self.damages:
            self.damages.append(damage)

    def _note(self, path: Path, what: str, n_more: int = 0) -> None:
        self.note(f"{self._name(path)}{what}" + (f" (and {n_more} more)" if n_more else ""))

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.folder.parent))

    # --- representations

    def latents(self, row: pd.Series) -> dict[str, np.ndarray]:
        """`z_hat`, `z` (n_points, .) and `domains` (n_points,) of one trial's first test points.

        And, where there is a decoder and the truth is known, `support` (n_observed, n_latents) and the `strength` of the decoder's edges
        (n_observed, n_estimated). Where they cannot be read, nothing, which is then noted in `damages`.
        """
        path = self._representations(row)
        found = self._own_arrays(path, row, lambda name: name != CURVE and not name.startswith(TERM))
        if found is None or _are_latents(found):
            return found or {}
        self._note(path, f" does not hold the latents of {row.trial_id}")
        return {}

    def curve(self, row: pd.Series) -> dict[str, np.ndarray]:
        """The learning curve of one trial's model: those of `LOOK` and the terms of its loss, (n_looks,) each.

        No look where there is none, as of a method without steps.
        """
        path = self._representations(row)
        if not path.exists():  # as of a pack of which nothing was trained
            return dict.fromkeys(LOOK, np.zeros(0))
        found = self._own_arrays(path, row, lambda name: name == CURVE or name.startswith(TERM))
        curve = (found or {}).pop(CURVE, np.zeros(0))
        if curve.ndim != 2 or curve.shape[1] != len(LOOK) or curve.dtype.kind != "f":
            return dict.fromkeys(LOOK, np.zeros(0))
        terms = {name.removeprefix(TERM): own for name, own in (found or {}).items()}
        terms = {name: own for name, own in terms.items() if own.shape == (len(curve),) and own.dtype.kind == "f"}
        own = dict(zip(LOOK, curve.T, strict=True))
        return own | {name: values for name, values in terms.items() if name not in own}

    def _representations(self, row: pd.Series) -> Path:
        """Where the arrays of a trial's pack are: whatever the row says, a file of this folder."""
        return self.representation_folder / f"{Path(str(row.get('pack_id'))).name}.npz"

    def _own_arrays(self, path: Path, row: pd.Series, is_wanted: Callable[[str], bool]) -> dict[str, np.ndarray] | None:
        """Arrays of one trial in a file, by name; None, which is noted, where that cannot be read."""
        start = f"{row.trial_id}."
        try:
            arrays = read_arrays(path, lambda name: name.startswith(start) and is_wanted(name.removeprefix(start)))
        except FileNotFoundError:
            if not isinstance(row.get(ARCHIVE), str):  # an archive has no arrays
                self._note(path, " is missing")
            return None
        except (OSError, NoArrays) as error:
            self._note(path, f" cannot be read ({getattr(error, 'strerror', None) or error})")
            return None
        return {name.removeprefix(start): array for name, array in arrays.items()}

    def pack_latents(self, pack_id: str) -> dict[str, np.ndarray] | None:
        """All arrays that files of a pack hold, as they were written; none where there are none.

        What cannot be read is noted; where these are the latents of test points, None is returned.
        """
        found: dict[str, np.ndarray] = {}
        for kind, folder in self.array_folders.items():
            arrays = self._arrays(folder / f"{pack_id}.npz")
            if arrays is None and not kind:
                return None
            parts = ((name.partition("."), array) for name, array in (arrays or {}).items())
            found |= {f"{trial}.{kind and kind + '/'}{name}": array for (trial, _, name), array in parts}
        return found

    # --- what is kept where it was asked for

    def lacking(self, kinds: Collection[str]) -> set[str]:
        """Trials that are ok and of which not all of these kinds of `bench.train.kept` are kept."""
        if not kinds:
            return set()
        ok = {trial_id for trial_id, (status, _) in self._last_statuses().items() if status == OK}
        kept = [self._kept(kind) for kind in kinds]
        return {trial for trial in ok if not all(trial in own for own in kept)}

    def _kept(self, kind: str) -> set[str]:
        if kind == LATENTS:
            return {path.stem for path in (self.folder / LATENTS).glob("*.parquet")}
        found: set[str] = set()
        for path in self.array_folders[kind].glob("*.npz"):
            try:
                found |= {name.partition(".")[0] for name in array_names(path)}
            except (OSError, NoArrays) as error:
                self._note(path, f" cannot be read ({getattr(error, 'strerror', None) or error})")
        return found

    def model(self, row: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """What the model of a trial is built of. Raises UsageError where it was not kept, or cannot be read."""
        start = f"{row['trial_id']}."
        path = self.array_folders[MODELS] / f"{Path(str(row.get('pack_id'))).name}.npz"
        try:
            arrays = read_arrays(path, lambda name: name.startswith(start))
        except FileNotFoundError:
            arrays = {}
        except (OSError, NoArrays) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{self._name(path)} cannot be read ({reason})") from None
        if not arrays:
            raise UsageError(f"no model was kept of {self._of(row)}; {self._keep(MODELS)}")
        return {name.removeprefix(start): array for name, array in arrays.items()}

    def every_latent(self, row: Mapping[str, Any]) -> pd.DataFrame:
        """The estimated latents of all points of a trial, as `bench.train.kept.table_of` has them. Raises UsageError as `model` does."""
        path = self._latents_path(row["trial_id"])
        try:
            return _read_table(path)
        except FileNotFoundError:
            raise UsageError(f"no latents of all points were kept of {self._of(row)}; {self._keep(LATENTS)}") from None
        except Exception as error:  # whatever a reader of binary files may find
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise UsageError(f"{self._name(path)} is no table that can be read ({reason})") from None

    def trial(self, name: str) -> dict[str, Any]:
        """The row of the trial that is meant by its id, by the first characters of it, or by its method if the run has one trial of that.

        Raises UsageError where there is none, or more than one.
        """
        rows = [row for row in self.rows() if row["status"] == OK]
        found = [row for row in rows if row["method"] == name]
        found = [row for row in found if row["code"] == found[-1]["code"]]  # not those of earlier code
        found = found or [row for row in rows if name and row["trial_id"].startswith(name)]
        if not found:
            known = sorted({row["method"] for row in rows})
            raise UsageError(f"the run {self.folder.name!r} has no trial {name!r} that is ok; {nearest(name, known)}")
        if len(found) > 1:
            some = ", ".join(f"{row['trial_id']} (seed {row['seed']})" for row in found[:4])
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            raise UsageError(
                f"{name!r} is the name of {len(found)} trials of the run; say which by its id: {some}{more}"
            )
        return found[0]

    def copy_latents(self, trial_id: str, source: Store) -> None:
        """Keeps the latents of all points of a trial as another run kept them, if it did."""
        path = source._latents_path(trial_id)
        try:
            content = read_bytes(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self._note(path, f" cannot be read ({error.strerror})")
            return
        write_bytes(self._latents_path(trial_id), content)

    def _latents_path(self, trial_id: str) -> Path:
        return self.folder / LATENTS / f"{Path(trial_id).name}.parquet"

    def _of(self, row: Mapping[str, Any]) -> str:
        return f"the trial {row['trial_id']} ({row['method']})"

    def _keep(self, kind: str) -> str:
        return f"the run's command with --keep {kind} trains it again and keeps them"

    # --- charts

    def write_chart(self, chart_id: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps the arrays of a chart, so that no later command trains it again."""
        _write_arrays(self.folder / "charts" / f"{chart_id}.npz", arrays)

    def chart(self, chart_id: str) -> dict[str, np.ndarray] | None:
        """The arrays of a chart; None where there is none, or none that can be read, which is then noted in `damages`."""
        return self._arrays(self.folder / "charts" / f"{chart_id}.npz", "; the chart is trained again") or None

    def write_charts(self, pack_id: str, charts: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Keeps the arrays of charts that were trained together, by id: all of them, or none if this process is killed now.

        Else the others would be trained among other charts, to other bits, by the next command.
        """
        together = {f"{chart_id}/{name}": array for chart_id, own in charts.items() for name, array in own.items()}
        journal = self.folder / "charts" / "journal" / f"{pack_id}.npz"
        _write_arrays(journal, together)
        for chart_id, arrays in charts.items():
            self.write_chart(chart_id, arrays)
        journal.unlink()

    def _end_journals(self) -> None:
        """Writes the charts that a killed process had begun to write."""
        for journal in sorted((self.folder / "charts" / "journal").glob("*.npz")):
            charts: dict[str, dict[str, np.ndarray]] = {}
            for key, array in (self._arrays(journal) or {}).items():
                chart_id, _, name = key.partition("/")
                charts.setdefault(Path(chart_id).name, {})[name] = array
            for chart_id, arrays in charts.items():
                self.write_chart(chart_id, arrays)
            journal.unlink()

    # --- what packs go on from

    def write_state(self, pack_id: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps what a pack that is not done goes on from, in place of what was kept before."""
        write_atomically(self._state(pack_id), lambda file: np.savez(file, allow_pickle=False, **arrays))

    def state(self, pack_id: str) -> dict[str, np.ndarray] | None:
        """The arrays that a pack goes on from; None where there are none, or none that can be read, which is then noted in `damages`."""
        return self._arrays(self._state(pack_id), "; the pack begins anew") or None

    def drop_state(self, pack_id: str) -> None:
        """A pack is done, or goes on in another way."""
        self._state(pack_id).unlink(missing_ok=True)

    def _state(self, pack_id: str) -> Path:
        return self.folder / "states" / f"{pack_id}.npz"

    def _arrays(self, path: Path, then: str = "") -> dict[str, np.ndarray] | None:
        """The arrays of a file; none where it is not there, and None where it cannot be read, which is then noted in `damages`."""
        try:
            return read_arrays(path)
        except FileNotFoundError:
            return {}
        except (OSError, NoArrays) as error:
            self._note(path, f" cannot be read ({getattr(error, 'strerror', None) or error}){then}")
            return None

    # --- the manifest, and what is planned

    def has_manifest(self) -> bool:
        return (self.folder / "manifest.json").exists()

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        self.write_text("manifest.json", json.dumps(manifest, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        write_text(self.folder / name, text)

    def manifest(self) -> dict[str, Any]:
        """Raises UsageError if the folder holds no run, or one whose manifest cannot be read."""
        path = self.folder / "manifest.json"
        try:
            manifest = json.loads(read_bytes(path))
        except FileNotFoundError:
            raise UsageError(f"there is no run in {self.folder}") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror})") from None
        except (ValueError, RecursionError):
            raise UsageError(f"{path} is cut off or no JSON; {REPAIR}") from None
        found = flaw(manifest, MANIFEST)
        if not found:
            found = next(filter(None, (flaw(command, COMMAND) for command in manifest["commands"])), "")
            found = found if manifest["commands"] else "it holds no command"
        if found:
            raise UsageError(f"{path} is no manifest of a run: {found}; {REPAIR}")
        return manifest

    def plan(self, trials: Iterable[Trial]) -> None:
        """Adds `trials` to those that are planned. Of a method on a data set whose code changed, those planned before are forgotten."""
        codes: dict[tuple[str, str], str] = {}
        found = {}
        for trial in trials:
            code = codes.setdefault((trial.method, trial.dataset), trial.code)
            found[trial.trial_id] = (trial.trial_id, trial.method, trial.dataset, code)
        former = [
            row for row in self._planned() if codes.get((row[1], row[2]), row[3]) == row[3] and row[0] not in found
        ]
        text = io.StringIO()
        rows = ([cell(entry) for entry in row] for row in (PLANNED, *former, *found.values()))
        csv.writer(text, lineterminator="\n").writerows(rows)
        self.write_text("planned.csv", text.getvalue())

    def planned(self) -> pd.DataFrame:
        """trial_id, method, dataset and code of all trials that are planned; of an early run, which recorded none, no row."""
        import pandas as pd
        from pyarrow import ArrowException
        from pyarrow import csv as arrow_csv

        # A million rows by Arrow, where there is nothing that must be looked at more closely: quotes, flaws, or what `cell` changed.
        with contextlib.suppress(ArrowException, OSError):
            content = read_bytes(self.folder / "planned.csv")
            if b"'" not in content and b'"' not in content:
                texts = arrow_csv.ConvertOptions(column_types=dict.fromkeys(PLANNED, "string"))
                lines = arrow_csv.ParseOptions(ignore_empty_lines=False)
                table = arrow_csv.read_csv(io.BytesIO(content), parse_options=lines, convert_options=texts)
                found = table.combine_chunks().to_pandas()  # a look-up begins anew with every chunk
                if tuple(found) == PLANNED and not (found == "").any(axis=None):
                    return found
        return pd.DataFrame(self._planned(), columns=list(PLANNED), dtype=object)

    def _planned(self) -> list[tuple[str, ...]]:
        path = self.folder / "planned.csv"
        try:
            text = io.StringIO(read_bytes(path).decode(), newline="")
            rows = [[of_cell(entry) for entry in row] for row in csv.reader(text)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, csv.Error) as error:
            self._note(path, f" cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})")
            return []
        flawed = {number for number, row in enumerate(rows, 1) if len(row) != len(PLANNED) or not all(row)}
        if flawed or not rows or tuple(rows[0]) != PLANNED:
            self._note(path, f", line {min(flawed, default=1)} is left out: it is no planned trial")
        return [tuple(row) for number, row in enumerate(rows, 1) if number not in flawed and tuple(row) != PLANNED]


REPAIR = "restore it, or move it away and give the run's command again, which keeps what is finished"


def with_arrays(stores: Mapping[str, Store]) -> list[str]:
    """The names of those runs of which more than the table was kept."""
    return [name for name, store in stores.items() if not store.is_kept_table()]


def precedence(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Orders rows of one trial, of which the last counts: oldest first, and before all those that came in an archive.

    When one of an archive was finished, is the word of whoever made it: no such word can put it in the place of one's own.
    """
    return not row.get(ARCHIVE), row["finished_at"]


def when(command: Mapping[str, Any]) -> tuple[bool, str]:
    """Orders commands in the same way, of which the last says what counts."""
    return not command.get(ARCHIVE), command["started_at"]


def _last(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last row of every trial, in the order of `precedence`."""
    return list({row["trial_id"]: row for row in sorted(rows, key=precedence)}.values())


def last_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The last row of every trial, in the order of `precedence`; the table itself where it is that, since a copy of a million rows is large."""
    if ARCHIVE in table and table[ARCHIVE].notna().any():
        order = np.lexsort((table["finished_at"], table[ARCHIVE].isna()))
        return table.iloc[order].drop_duplicates("trial_id", keep="last", ignore_index=True)
    if not table["finished_at"].is_monotonic_increasing:
        table = table.sort_values("finished_at", kind="stable", ignore_index=True)
    return table if table["trial_id"].is_unique else table.drop_duplicates("trial_id", keep="last", ignore_index=True)


def _mixed(tables: list[pd.DataFrame]) -> list[str]:
    """The columns that are numbers in some tables, and something else in others."""
    kinds: dict[str, set[bool]] = {}
    for table in tables:
        for name in table:
            if table[name].notna().any():
                kinds.setdefault(str(name), set()).add(table[name].dtype.kind in "iuf")
    return [name for name, found in kinds.items() if len(found) > 1]


def _with_like_lists(tables: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """The same, with lists of Python's in each column whose lists are Arrow's of another type, or not Arrow's, in another table."""
    import pandas as pd

    kinds: dict[str, set[Any]] = {}
    for table in tables:
        for name in table:
            if table[name].notna().any():
                kinds.setdefault(name, set()).add(table[name].dtype)
    unlike = [name for name, own in kinds.items() if len(own) > 1 and any(isinstance(k, pd.ArrowDtype) for k in own)]
    return [
        table.assign(**{name: objects(table[name].tolist()) for name in unlike if name in table}) for table in tables
    ]


def _table_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The table of rows, `with_arrow_lists`.

    It is copied: all its columns of objects are views of one array, which would keep Python's lists in memory beside Arrow's.
    """
    import pandas as pd

    return with_arrow_lists(pd.DataFrame(rows)).copy()


def with_arrow_lists(table: pd.DataFrame) -> pd.DataFrame:
    """The same, whose lists of texts, whole numbers, floats or truth values are Arrow's, in a tenth of the memory of Python's.

    A column whose values are not all such lists, or not all of one type, stays as it is.
    """
    import pandas as pd
    import pyarrow as arrow

    found = {}
    for name in [name for name in table if table[name].dtype == object]:
        values = [value if isinstance(value, list) else None for value in table[name].tolist()]
        own = [value for value in values if value is not None]
        inner = {*map(type, itertools.chain.from_iterable(own))} - {type(None)}
        if own and len(own) == int(table[name].notna().sum()) and len(inner) < 2 and inner <= set(ARROW):
            kind = arrow.list_(getattr(arrow, ARROW[next(iter(inner), str)])())
            with contextlib.suppress(arrow.ArrowException, OverflowError):  # numbers beyond 64 bits
                found[name] = pd.Series(arrow.array(values, kind), table.index, dtype=pd.ArrowDtype(kind))
    return table.assign(**found)


def objects(values: Iterable[Any]) -> np.ndarray:
    """Values as an array of objects, whatever they are."""
    return np.fromiter(values, dtype=object)


def _of_parquet(content: bytes) -> pd.DataFrame:
    """The table of a Parquet file, whose lists are Arrow's."""
    import pandas as pd
    from pyarrow import parquet, types

    table = parquet.read_table(io.BytesIO(content))
    lists = [field.name for field in table.schema if types.is_list(field.type)]
    own = {name: pd.Series(table[name], dtype=pd.ArrowDtype(table[name].type)) for name in lists}
    return pd.concat([table.drop_columns(lists).to_pandas(), pd.DataFrame(own)], axis=1)[table.schema.names]


def _write_parquet(table: pd.DataFrame, file: IO[bytes]) -> None:
    """A Parquet file without a word about pandas, which cannot read what it says there of lists itself."""
    import pyarrow as arrow
    from pyarrow import parquet

    parquet.write_table(arrow.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None), file)


def _is_kept_by_parquet(table: pd.DataFrame) -> bool:
    """Whether a Parquet file holds the very values of a table: those that are Python's are all texts, or all true or false."""
    kinds = (set(map(type, table[name].dropna().tolist())) for name in table if table[name].dtype == object)
    return all(found <= {str} or found <= {bool} for found in kinds)


# Digits as 0, and what may stand before a number as a colon: to find whole numbers of so many digits that orjson rounds them.
SHAPE = bytes.maketrans(b"123456789 [,-\t\r\n", b"0" * 9 + b":" * 7)
LONG = b":" + b"0" * 19


def _rows(text: bytes, lines: list[bytes]) -> list[Any]:
    """What the lines of a text hold, as `json` reads it, but faster; nothing where a line needs a closer look."""
    if LONG in text.translate(SHAPE):
        return []
    try:
        return [orjson.loads(line) for line in lines]
    except ValueError:
        return []


def are_whole(values: list[Any], needed: Mapping[str, Any], maybe: Mapping[str, Any]) -> bool:
    """Whether there are values and `flaw` finds nothing in any of them, as far as can be said at once of all."""
    try:
        return (
            bool(values)
            and all(_fit([value[name] for value in values], kind) for name, kind in needed.items())
            and all(
                _fit([found for value in values if (found := value.get(name)) is not None], kind)
                for name, kind in maybe.items()
            )
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _fit(found: list[Any], kind: Any) -> bool:
    if isinstance(kind, tuple):
        return set(found) <= set(kind)
    types = set(map(type, found))
    if kind is float:
        return (
            types <= {int, float}
            and all(map(math.isfinite, found))
            and all(abs(n) < 2**63 for n in found if type(n) is int)
        )
    return types <= {kind} and (kind is not int or all(abs(n) < 2**63 for n in found))


def _stamp(path: Path) -> list[int]:
    """What is another when a file is: its size, place and times. Empty while it may still change within the resolution of its times."""
    try:
        found = path.stat()
    except OSError:
        return []
    recent = time.time_ns() - SETTLED_NS < max(found.st_mtime_ns, found.st_ctime_ns)
    return [] if recent else [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def flaw(value: Any, needed: Mapping[str, Any], maybe: Mapping[str, Any] | None = None) -> str:
    """What keeps `value` from being a table with these names, in words; nothing if it is one.

    Each name has a type, of which numbers are finite, or a tuple of all values that it may have. Those of `maybe` may be absent or None.
    """
    if not isinstance(value, dict):
        return "it is no table of names and values"
    kinds = {**needed, **{name: kind for name, kind in (maybe or {}).items() if value.get(name) is not None}}
    for name, kind in kinds.items():
        if name not in value:
            return f"{name!r} is missing"
        found = value[name]
        if isinstance(kind, tuple):
            if found not in kind:
                return f"there is no {name} {found!r}"
            continue
        fits = isinstance(found, (int, float) if kind is float else kind) and isinstance(found, bool) == (kind is bool)
        if fits and kind in (int, float):
            fits = abs(found) < 2**63 if isinstance(found, int) else math.isfinite(found)
        if not fits:
            return f"{name!r} is not {KINDS[kind]}"
    return ""


def _are_latents(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether these are `Store.latents`, as far as shapes and types go."""
    if not {"z", "z_hat", "domains"} <= set(arrays) or any(array.dtype.kind not in "biuf" for array in arrays.values()):
        return False
    z, z_hat, domains = (arrays[name] for name in ("z", "z_hat", "domains"))
    if z.ndim != 2 or z_hat.ndim != 2 or domains.ndim != 1 or not 0 < len(z) == len(z_hat) == len(domains):
        return False
    n_latents = z.shape[1] or (
        len(arrays["match"]) if "match" in arrays else 0
    )  # without any the match is of the support
    widths = {"support": n_latents, "strength": z_hat.shape[1]}
    return all(arrays[name].shape[1:] == (width,) for name, width in widths.items() if name in arrays)


def settled(table: pd.DataFrame, flat: Collection[str] = ()) -> pd.DataFrame:
    """The same with a column of text in place of each that no file can hold, as one of texts and numbers, or of lists among `flat`."""
    import pandas as pd
    import pyarrow as arrow

    def fits(column: pd.Series) -> bool:
        try:
            kind = arrow.array(column, from_pandas=True).type
        except (arrow.ArrowException, OverflowError, ValueError, TypeError):
            return False
        return "struct<>" not in str(kind) and not (column.name in flat and arrow.types.is_nested(kind))

    mixed = [name for name in table if table[name].dtype == object and not fits(table[name])]
    mixed += [name for name in flat if name in table and isinstance(table[name].dtype, pd.ArrowDtype)]
    return table.assign(**{name: table[name].map(_text) for name in mixed})


def _text(value: Any) -> str | None:
    import pandas as pd

    missing = value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
    return None if missing else value if isinstance(value, str) else json.dumps(_plain(value))


def _by_kind(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Arrays called `TRIAL.NAME` by kind, trial and name; those whose name tells no kind have none."""
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for key, array in arrays.items():
        trial, _, name = key.partition(".")
        kind = kind_of(name)
        own = found.setdefault(kind if kind in KEPT else "", {}).setdefault(trial, {})
        own[name.removeprefix(f"{kind}/") if kind in KEPT else name] = array
    return found


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    write_atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def check_links(folder: Path) -> None:
    """Raises UsageError where a part of `folder` is a link to another folder: a command writes in the folder that it names."""
    for path in folder.iterdir():
        if path.is_symlink() and path.is_dir():
            raise UsageError(
                f"{path} is a link to another folder, in which nothing is written; put a folder in its place"
            )


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    write_atomically(path, lambda file: file.write(content))


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Puts what `write` writes in the place of `path`, durably, or leaves all as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)  # of a process that was killed, or a link
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _read_table(path: Path) -> pd.DataFrame:
    """The table in a Parquet file. Raises whatever its reader may find, and OSError where it is too large for the memory that is free."""
    import pandas as pd
    from pyarrow import parquet

    with open_file(path) as file:
        about = parquet.ParquetFile(file).metadata
        columns = [about.schema.column(place) for place in range(about.num_columns)]
        groups = [about.row_group(number) for number in range(about.num_row_groups)]
        claimed = sum(group.total_byte_size for group in groups)
        numbers = sum(
            group.column(place).num_values * max(8, column.length)
            for group in groups
            for place, column in enumerate(columns)
        )
        _check_size(max(claimed, numbers))
        # A file may hold a long text once and claim it for every row: it is read once, and counted for each.
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        if texts:
            once = parquet.ParquetFile(file, read_dictionary=texts).read(columns=texts)
            _check_size(sum(_text_bytes(chunk) for column in once.columns for chunk in column.chunks))
        return pd.read_parquet(file)


def _check_size(size: int) -> None:
    if size > largest():
        raise OSError(errno.EFBIG, f"its {in_words(size)} are more than the {in_words(largest())} that may be read")


def _text_bytes(array: Any) -> int:
    """How many bytes the texts of an array take, an Arrow one, each where it stands."""
    import pyarrow as arrow
    from pyarrow import compute

    if isinstance(array, arrow.DictionaryArray):
        return compute.sum(compute.take(compute.binary_length(array.dictionary), array.indices)).as_py() or 0
    if arrow.types.is_struct(array.type):
        return sum(map(_text_bytes, array.flatten()))
    return _text_bytes(array.flatten()) if arrow.types.is_nested(array.type) else array.nbytes


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
