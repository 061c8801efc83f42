"""Files and folders that nobody should have made, for tests of what reads them."""

import io
import os
import socket
import struct
import zipfile
from pathlib import Path

import numpy as np

N = 60
Z = np.random.default_rng(0).normal(size=(N, 2))
HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': (60, 2), }"


DATA = Z.tobytes()


def npy(header=HEADER, data=DATA, version=(1, 0)):
    """The bytes of one array, with any header."""
    text = header.encode("latin-1")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def archive(path, members):
    """An .npz file with these members, as (name, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def pipe(path):
    os.mkfifo(path)


def folder(path):
    Path(path).mkdir()


def device(path):
    Path(path).symlink_to("/dev/zero")


def loop(path):
    Path(path).symlink_to(Path(path).name)


def bound_socket(path):
    here = os.getcwd()
    os.chdir(Path(path).parent)  # the path of a socket may have 108 characters
    try:
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(Path(path).name)
    finally:
        os.chdir(here)


NO_FILES = {"pipe": pipe, "folder": folder, "device": device, "loop of links": loop, "socket": bound_socket}


class Runs:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def headers():
    """Headers of arrays that are none, with what is said of them."""
    return {
        "43 TB": HEADER.replace("60, 2", "2700000000000, 2"),
        "more than the member": HEADER.replace("60, 2", "61, 2"),
        "less than the member": HEADER.replace("60, 2", "59, 2"),
        "negative": HEADER.replace("60, 2", "-60, -2"),
        "a shape of texts": HEADER.replace("(60, 2)", "('60', 2)"),
        "a shape that is a list": HEADER.replace("(60, 2)", "[60, 2]"),
        "a shape that is a number": HEADER.replace("(60, 2)", "60"),
        "no shape": "{'descr': '<f8', 'fortran_order': False, }",
        "an order that is a text": HEADER.replace("False", "'yes'"),
        "nested": "(" * 5000 + ")" * 5000,
        "nested operators": "-" * 9000 + "1",
        "no literal": "__import__('os').system('touch executed')",
        "huge": HEADER + " " * 60_000,
        "empty": "",
        "objects": HEADER.replace("<f8", "|O"),
        "structured": HEADER.replace("'<f8'", "[('a', '<f4'), ('b', '<f4')]"),
        "subarray": HEADER.replace("'<f8'", "('<f8', (1,))"),
        "nothing in each": HEADER.replace("<f8", "|V0").replace("60, 2", "10**15,").replace("10**15", str(10**15)),
        "texts of no length": HEADER.replace("<f8", "<U0"),
        "dates": HEADER.replace("<f8", "<M8[s]"),
        "an unknown type": HEADER.replace("<f8", "<q9"),
        "a type of types": HEADER.replace("'<f8'", "{'a': 1}"),
    }


def bomb(path, gigabytes=300):
    """A small file that claims to hold a great array: each member is read as it is, and the directory says that it is long."""
    archive(path, [("z.npy", npy())])
    text = bytearray(Path(path).read_bytes())
    at = text.index(b"PK\1\2")
    size = struct.pack("<I", min(gigabytes * 2**30, 2**32 - 2))
    text[at + 24 : at + 28] = size
    Path(path).write_bytes(text)
