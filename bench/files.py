"""Reads files that anybody may have put there: nothing waits, nothing is executed, and no more memory is taken than a file may ask for."""

from __future__ import annotations

import errno
import glob
import io
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from bench.machine import free_memory

if TYPE_CHECKING:
    import numpy as np

SMALL = 2**20  # bytes that may always be read
SHARE = 0.25  # of the memory that is free: what is read is copied, to be centred and scaled
given: dict[
    str, bytes
] = {}  # contents of files, by path, that came with a task: on its machine there are no such files
KINDS = {
    stat.S_ISFIFO: "it is a pipe, not a file",
    stat.S_ISSOCK: "it is a socket, not a file",
    stat.S_ISCHR: "it is a device, not a file",
    stat.S_ISBLK: "it is a device, not a file",
}


def largest() -> int:
    """How many bytes one file may bring into memory: a quarter of what is free on this machine."""
    return int(SHARE * free_memory())


def named_by(path: str) -> list[str]:
    """The files that the value of a field names: one, several between commas, those that a pattern as "/data/*.csv" finds, in their order.

    Where files came with a task, a pattern finds them. What is not there is named all the same.
    """
    found: list[str] = []
    for part in [path] if _is_there(path) else path.split(","):
        if _is_there(part) or not glob.has_magic(part):
            found.append(part)
        else:
            try:
                found += sorted({*glob.glob(part), *(name for name in given if PurePath(name).match(part))}) or [part]
            except (ValueError, re.error):  # a null character, or a pattern that is none
                found.append(part)
    return list(dict.fromkeys(found))


def _is_there(path: str) -> bool:
    return path in given or os.path.exists(path)


def changed(path: str) -> int:
    """When a file was last written, in ns; 0 for one that came with a task. Raises OSError if it is not there."""
    if path in given:
        return 0
    try:
        return os.stat(path).st_mtime_ns
    except ValueError as error:  # a name with a null character
        raise OSError(errno.EINVAL, str(error), path) from None


def open_file(path: Path | str) -> IO[bytes]:
    """Opens a file to be read. Raises OSError for what is not there or no file: a pipe or a device would be waited for, or never end."""
    if str(path) in given:
        return io.BytesIO(given[str(path)])
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # a name with a null character
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    reason = next((text for is_kind, text in KINDS.items() if is_kind(mode)), None)
    if reason:
        raise OSError(errno.EINVAL, reason, str(path))
    # Not waiting, in case a pipe took its place since.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def read_bytes(path: Path | str) -> bytes:
    """What a file holds. Raises OSError where it cannot be read, or is too large for the memory that is free."""
    if str(path) in given:
        return given[str(path)]
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > SMALL and size > (most := largest()):
            raise OSError(
                errno.EFBIG, f"its {in_words(size)} are more than the {in_words(most)} that may be read", str(path)
            )
        return file.read()


class NoArrays(ValueError):
    """A file is no .npz file of plain arrays. The message says why, as the end of a sentence."""

    def __init__(self, reason: str):
        super().__init__(reason if len(reason) <= 300 else f"{reason[:300]} ...")


def read_arrays(path: Path | str, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """The arrays of an .npz file whose names are `wanted`. Raises OSError where it cannot be read, and NoArrays where it is no such file.

    Of every array, the size that its header claims is compared with what the archive holds, before memory is taken for it.
    """
    from numpy.lib import format as npy

    with open_file(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = {}
                for member in archive.infolist():
                    name = member.filename.removesuffix(".npy")
                    if name in members:
                        raise NoArrays(f"it holds two arrays called {name!r}")
                    members[name] = member
                members = {name: member for name, member in members.items() if wanted(name)}
                size, most = sum(member.file_size for member in members.values()), largest()
                if size > most:
                    raise NoArrays(f"its arrays take {in_words(size)}, more than the {in_words(most)} that may be read")
                found = {}
                for name, member in members.items():
                    _check(archive, member, name, npy)
                    with archive.open(member) as content:
                        found[name] = npy.read_array(content, allow_pickle=False)
                return found
        except NoArrays:
            raise
        except zipfile.BadZipFile as error:
            raise NoArrays(f"it is no archive, or a damaged one ({error})") from None
        except (EOFError, ValueError, TypeError, LookupError, AttributeError, struct.error, zlib.error) as error:
            raise NoArrays(f"it is damaged ({error})") from None
        except (NotImplementedError, RuntimeError, RecursionError, MemoryError, OverflowError) as error:
            raise NoArrays(f"it cannot be unpacked ({error or type(error).__name__})") from None


def array_names(path: Path | str) -> list[str]:
    """The names of the arrays of an .npz file, of which none is read. Raises OSError and NoArrays as `read_arrays` does."""
    with open_file(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return [member.filename.removesuffix(".npy") for member in archive.infolist()]
        except (
            zipfile.BadZipFile,
            ValueError,
            NotImplementedError,
            RecursionError,
            MemoryError,
            struct.error,
        ) as error:
            raise NoArrays(f"it is no archive, or a damaged one ({error})") from None


def _check(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, npy: Any) -> None:
    """Raises NoArrays unless a member is an array of numbers, truths or texts, and as long as its header says."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with archive.open(member) as content:
        version = npy.read_magic(content)
        if version not in readers:
            raise NoArrays(f"{name!r} is in version {version} of the format, which has no plain arrays")
        shape, _, dtype = readers[version](content)
        start = content.tell()
    if dtype.hasobject or dtype.names or dtype.kind not in "biufcSU" or not dtype.itemsize:
        raise NoArrays(f"{name!r} is of type {dtype}, and no array of numbers")
    size = math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape) or size != member.file_size - start:
        raise NoArrays(
            f"{name!r} claims the shape {shape}, which is {size} bytes, and holds {member.file_size - start}"
        )


def in_words(size: int) -> str:
    """A number of bytes for a sentence."""
    return f"{size / 2**30:.3g} GiB" if size >= 2**27 else f"{size / 2**20:.3g} MiB"
