"""One small file of a finished run, for others to merge: rows, manifest, plan and the sources of plug-ins. No figures, no weights, no paths.

It is a zip file. The same run gives the same bytes: members, their order and their times are fixed.

    about.json          the format, who submitted the run, and a checksum of every other member
    manifest.json       that of the run, without paths and without what is known of its machine beside the processor
    planned.csv         the trials that were asked for
    plugins/<hash>.py   sources of plug-ins, to be read: nothing executes them
    rows.jsonl          a row per trial

Rows are JSON, not Parquet: what is read back has the very values that were written, from which identities are computed again, and takes no
more memory than its text allows. A Parquet file can hold a long text once and claim it for every row: one of 283 bytes, whose own claim was
1 MB, was read as 500 MB.

Whoever reads an archive trusts nothing in it: see `bench.run.check`.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import json
import re
import shlex
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from bench.files import SMALL, in_words, largest, read_bytes
from bench.plan.identity import code_hash
from bench.registry import UsageError
from bench.run.store import ARCHIVE, COMMAND, Store, flaw, write_bytes
from bench.statuses import STATUSES
from bench.text import count, csv_text, one_line
from datasets import datasets
from methods import methods

FORMAT = 1
ABOUT, MANIFEST, PLANNED, ROWS = "about.json", "manifest.json", "planned.csv", "rows.jsonl"
PLUGIN = re.compile(r"plugins/[0-9a-f]{16}\.py")
LONGEST_NAME = 200  # letters of who submitted a run
MOST_MEMBERS = 100
LARGEST_PART = 0.1  # of what one file may take of the memory: rows are ten times as large as their text
END = struct.Struct("<4s4H2LH")  # of a zip file: what its directory has
MOVED = b"PK\6\7"  # begins what may stand before that, and says that the directory is another one
SECRET = ("--ray-address",)  # options whose value is nobody's business
ERRORS = ("Error", "Exception", "BrokenContract")  # ends of the names of errors that no builtin one has
DAMAGED = (EOFError, ValueError, LookupError, struct.error, zlib.error, NotImplementedError, RuntimeError)
SHARD = re.compile(r"\d+/\d+")


class Archive(NamedTuple):
    """What an archive holds: `store` is a run's folder as it says, `by` who submitted it (may be empty), `plugins` sources by their names."""

    path: str
    digest: str
    by: str
    store: Store
    plugins: Mapping[str, bytes]

    @property
    def words(self) -> str:
        """How a sentence calls it."""
        return f"{self.path} (by {self.by})" if self.by else self.path


# --- writing


def pack(store: Store, by: str = "", plugins: Sequence[str] = (), unfinished: bool = False) -> bytes:
    """The archive of a run: of every trial that is planned, its row. `plugins` are paths of files whose sources go along.

    Raises UsageError for a run of which others could check nothing: one that is not finished, unless that is allowed, one on files of its
    user, and one whose rows came from others.
    """
    by = _name(by)
    if store.is_kept_table():
        raise UsageError(
            f"of the run {store.folder.name!r} only the table was kept, without what others need to check it"
        )
    manifest, plan = store.manifest(), store.planned()
    found = {row["trial_id"]: row for row in store.rows()}
    rows = [found[trial] for trial in sorted(set(plan.trial_id)) if trial in found]
    _check(store, rows, len(plan), unfinished)
    texts = {path: read_bytes(path) for path in plugins}
    members = {
        MANIFEST: _json(_shared_manifest(manifest)),
        PLANNED: _plan_text(plan),
        ROWS: b"".join(json.dumps(_shared_row(row), sort_keys=True).encode() + b"\n" for row in rows),
        **{f"plugins/{code_hash(text)}.py": text for text in texts.values()},
    }
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(members.items())}
    about = {"format": FORMAT, "by": by, "sha256": checksums}
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted((members | {ABOUT: _json(about)}).items()):
            member = zipfile.ZipInfo(name)  # of the first day that a zip file knows
            member.external_attr, member.create_system = (stat.S_IFREG | 0o644) << 16, 3
            archive.writestr(member, content, zipfile.ZIP_DEFLATED, 9)
    return written.getvalue()


def _name(by: str) -> str:
    if by != one_line(by) or len(by) > LONGEST_NAME:
        raise UsageError(f"--by: a name is one line of at most {LONGEST_NAME} letters, without control characters")
    return by


def _check(store: Store, rows: Sequence[Mapping[str, Any]], n_planned: int, unfinished: bool) -> None:
    name = store.folder.name
    if store.damages:
        raise UsageError(f"the run {name!r} cannot be read whole: {store.damages[0]}")
    if not rows:
        raise UsageError(f"of the trials that the run {name!r} was asked for, none has a row")
    n_missing = n_planned - len(rows)
    n_again = sum(STATUSES[row["status"]].runs_again for row in rows)
    if (n_missing or n_again) and not unfinished:
        raise UsageError(
            f"the run {name!r} is not finished: {n_missing} of {count(n_planned, 'trial')} have no row, and {n_again} crashed; give its command "
            "again, or say --unfinished"
        )
    if any(row.get(ARCHIVE) for row in rows):
        raise UsageError(
            f"rows of the run {name!r} came in an archive of somebody else's: submit runs of your own alone"
        )
    for row in rows:
        for registry, kind in ((datasets, "dataset"), (methods, "method")):
            if row[kind] in registry.names() and (paths := registry[row[kind]].paths(row)):
                raise UsageError(
                    f"the trial {row['trial_id']} is on a file of yours ({row[kind]}.{paths[0]}), which nobody else has: such a run cannot be checked"
                )


def _shared_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **shared_error(row)}


def shared_error(row: Mapping[str, Any]) -> dict[str, None | str]:
    """What others see of how a trial went wrong: the type of its error. Its text and its traceback may name files, in whatever way."""
    name = str(row.get("error")).partition(": ")[0]
    known = getattr(builtins, name, None)
    is_type = isinstance(known, type) and issubclass(known, BaseException)
    is_type |= name.isidentifier() and len(name) <= LONGEST_NAME and name.endswith(ERRORS)
    is_shared = STATUSES[row["status"]].is_failure and is_type
    return {"error": name if is_shared else None, "traceback": None}


def _shared_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What of a manifest others need: commands without paths, versions, facts and definitions; of the machine, its kind and its processor."""
    commands = []
    for command in manifest["commands"]:
        machine = command["machine"]
        shared = {
            "command": shlex.join(_words(command["command"])),
            "config": _without_folders(command["config"]),
            "machine": {
                "system": str(machine.get("system", "")).partition("-")[0],
                **{name: machine[name] for name in ("processor", "cores") if name in machine},
            },
            "git": {name: command["git"].get(name) for name in ("commit", "modified")},
        }
        commands.append({**{name: command[name] for name in COMMAND}, **shared})
    known = ("name", "definitions", "splits", "methods", "datasets", "scores")
    return {**{name: manifest[name] for name in known if name in manifest}, "commands": commands}


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    kept, skip = [], False
    for word in words:
        name, _, value = word.partition("=")
        if not skip and name not in SECRET:
            kept.append(_without_folders(word))
        skip = name in SECRET and not value
    return kept


def _without_folders(value: Any) -> Any:
    """The same, with the name of a file in the place of each path in its texts."""
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    if not isinstance(value, str) or "/" not in value:
        return value
    parts = re.split("([=,])", value)
    return "".join(PurePath(part).name if "/" in part and not SHARD.fullmatch(part) else part for part in parts)


def _plan_text(plan: Any) -> bytes:
    return csv_text(plan.drop_duplicates("trial_id").sort_values("trial_id")).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


# --- reading


def is_archive(name: str) -> bool:
    """Whether the name of a run is that of something that is no folder, and so should be an archive."""
    return Path(name).exists() and not Path(name).is_dir()


def read(path: str, folder: Path) -> Archive:
    """Reads an archive, and writes what is in it to `folder`, as the folder of a run. Raises UsageError for anything else.

    Nothing else is written, nothing that it holds is executed, and no more memory is taken than a tenth of what a file may take.
    """

    def refused(reason: str) -> UsageError:
        return UsageError(one_line(f"{path} is no archive of a run that could be merged: {reason}"))

    try:
        content = read_bytes(path)
    except OSError as error:
        raise refused(error.strerror or type(error).__name__) from None
    try:
        members = _members(content)
    except _Refused as error:
        raise refused(str(error)) from None
    except zipfile.BadZipFile as error:
        raise refused(f"it is damaged ({error})") from None
    except DAMAGED as error:
        raise refused(f"it cannot be unpacked ({error or type(error).__name__})") from None
    try:
        by = _by(members)
    except _Refused as error:
        raise refused(str(error)) from None
    digest = hashlib.sha256(content).hexdigest()[:16]
    store = Store(folder)
    for name, place in ((MANIFEST, MANIFEST), (PLANNED, PLANNED), (ROWS, f"parts/{digest}.jsonl")):
        write_bytes(folder / place, members[name])
    try:
        store.manifest(), store.planned(), store.rows()
    except UsageError as error:
        raise refused(str(error).replace(f"{folder}/", "")) from None
    if store.damages:
        raise refused(store.damages[0])
    plugins = {name: text for name, text in members.items() if PLUGIN.fullmatch(name)}
    return Archive(path, digest, by, store, plugins)


def is_ours(path: Path) -> bool:
    """Whether a file is an archive as `pack` writes it, which another one may replace."""
    try:
        _by(_members(read_bytes(path)))
    except (_Refused, OSError, zipfile.BadZipFile, *DAMAGED):
        return False
    return True


class _Refused(Exception):
    """Why an archive is none, as the end of a sentence."""


def _members(content: bytes) -> dict[str, bytes]:
    """The members of a zip file as `pack` writes it. Their number and sizes are known before any is read."""
    most = max(int(LARGEST_PART * largest()), SMALL)
    if len(content) > most:
        raise _Refused(f"its {in_words(len(content))} are more than the {in_words(most)} that may be read")
    _check_end(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        for info in infos:
            _check_member(info)
        if len(set(names)) < len(names):
            raise _Refused(f"it holds two members called {next(n for n in names if names.count(n) > 1)!r}")
        absent = [name for name in (ABOUT, MANIFEST, PLANNED, ROWS) if name not in names]
        if absent:
            raise _Refused(f"it has no {absent[0]}")
        size = sum(info.file_size for info in infos)
        if size > most:
            raise _Refused(f"its members take {in_words(size)}, more than the {in_words(most)} that may be read")
        return {info.filename: _content(archive, info) for info in infos}


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """What a member holds, of which no more is unpacked than it claims: `ZipFile.read` unpacks up to 2 GiB before it cuts that off."""
    with archive.open(info) as member:
        return member.read(info.file_size + 1)


def _check_end(content: bytes) -> None:
    """The directory of a zip file is read whole before anything can be asked of it: how long it is stands at its end."""
    if not content.startswith(b"PK\3\4") or len(content) < END.size:
        raise _Refused("it is no zip file")
    mark, disk, first, here, n_members, length, _, comment = END.unpack(content[-END.size :])
    if mark != b"PK\5\6" or comment or disk or first or here != n_members or MOVED in content[-42 : -END.size]:
        raise _Refused("it is cut off, or no zip file as `submit` writes it")
    if n_members > MOST_MEMBERS or length > SMALL:
        raise _Refused(f"it claims {count(n_members, 'member')}, more than {MOST_MEMBERS}")


def _check_member(info: zipfile.ZipInfo) -> None:
    name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
    if name not in (ABOUT, MANIFEST, PLANNED, ROWS) and not PLUGIN.fullmatch(name):
        raise _Refused(f"it holds a member {name[:100]!r}, which no such archive has")
    if kind not in (0, stat.S_IFREG):
        raise _Refused(f"its member {name!r} is no file")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Refused(f"its member {name!r} is encrypted, or packed in another way than `submit` does")


def _by(members: Mapping[str, bytes]) -> str:
    """Who submitted an archive, if its members are those of which it has the checksums."""
    try:
        about = json.loads(members[ABOUT])
    except (ValueError, RecursionError):
        raise _Refused(f"{ABOUT} is no JSON") from None
    found = flaw(about, {"format": int, "by": str, "sha256": dict})
    if found:
        raise _Refused(f"in {ABOUT}, {found}")
    if about["format"] != FORMAT:
        raise _Refused(f"it is of format {about['format']}, and this version reads {FORMAT}")
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in members.items() if name != ABOUT}
    wrong = sorted(name for name in {*sums, *about["sha256"]} if sums.get(name) != about["sha256"].get(name))
    if wrong:
        raise _Refused(f"the checksum of {str(wrong[0])[:100]!r} is not that of its content")
    try:
        return _name(about["by"])
    except UsageError:
        raise _Refused(f"who submitted it is not one line of at most {LONGEST_NAME} letters") from None
