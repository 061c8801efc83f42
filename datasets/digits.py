"""Pictures of handwritten digits: scikit-learn's, or those of IDX files, the format of MNIST and of data sets made like it."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import struct
import zlib
from typing import NamedTuple

import numpy as np

from bench.files import in_words, largest, read_bytes
from bench.registry import UsageError, lazy_module

ndimage = lazy_module("scipy.ndimage")

IDX_IMAGES, IDX_LABELS = 0x0803, 0x0801  # what such files begin with: unsigned bytes, and how many axes they have
PART_OF_SIDE = 20 / 28  # of the canvas that scikit-learn's digits take, as MNIST's do


class Digits(NamedTuple):
    """`ink` (n_digits, height, width), float32 in [0, 1], the class of each (n_digits,) from 0, and a hash of both."""

    ink: np.ndarray
    labels: np.ndarray
    fingerprint: str


def of_scikit_learn() -> Digits:
    """Returns the 1,797 digits of Alpaydin & Kaynak (1998) that come with scikit-learn, 8 pixels high and wide."""
    return _of_scikit_learn()


@functools.cache
def _of_scikit_learn() -> Digits:
    from sklearn.datasets import load_digits

    found = load_digits()
    return _digits((found.images / 16).astype(np.float32), found.target.astype(np.int64))


def of_files(paths: tuple[str, ...]) -> Digits:
    """Returns the pictures of IDX files, gzipped or not, whose names tell pictures (idx3) from labels (idx1).

    Files of pictures and of labels belong together where their names agree up to that, as train-images-idx3-ubyte and
    train-labels-idx1-ubyte.gz do. Raises UsageError.
    """
    names = {path: path.rpartition("/")[2].removesuffix(".gz") for path in paths}
    images = {name.replace("images", "").replace("idx3", ""): path for path, name in names.items() if "idx3" in name}
    labels = {name.replace("labels", "").replace("idx1", ""): path for path, name in names.items() if "idx1" in name}
    if not images or images.keys() != labels.keys():
        raise UsageError(
            "coloured-digits.folder needs files of pictures with those of their labels, as train-images-idx3-ubyte.gz and "
            f"train-labels-idx1-ubyte.gz; there is: {', '.join(sorted(names.values())) or 'none'}"
        )
    ink, classes = [], []
    for name in sorted(images):
        pictures, own = _idx(images[name], IDX_IMAGES), _idx(labels[name], IDX_LABELS)
        if len(pictures) != len(own):
            raise UsageError(f"{images[name]} has {len(pictures)} pictures, and {labels[name]} {len(own)} labels")
        ink.append(pictures.astype(np.float32) / 255)
        classes.append(own.astype(np.int64))
    if len({each.shape[1:] for each in ink}) > 1:
        raise UsageError(f"the pictures of {', '.join(sorted(images.values()))} are not of one size")
    return _digits(np.concatenate(ink), np.concatenate(classes))


def on_canvas(ink: np.ndarray, side: int) -> np.ndarray:
    """Returns `ink` (n_digits, height, width) on square canvases of `side` pixels, (n_digits, side, side) in [0, 1].

    Pictures of 8 pixels are enlarged by cubic splines and get a margin; others are scaled to the whole canvas.
    """
    height, width = ink.shape[1:]
    if (height, width) == (side, side):
        return ink
    inner = round(PART_OF_SIDE * side) if max(height, width) <= 8 else side
    rows, columns = (_enlarging(length, inner) for length in (height, width))
    pad = (side - inner) // 2
    canvas = np.zeros((len(ink), side, side), np.float32)
    canvas[:, pad : pad + inner, pad : pad + inner] = np.clip(rows @ ink @ columns.T, 0, 1)
    return canvas


def _enlarging(length: int, to: int) -> np.ndarray:
    """The matrix (to, length) that takes a row of pixels to its cubic spline at `to` pixels."""
    return ndimage.zoom(np.eye(length), (to / length, 1), order=3, mode="nearest", grid_mode=True).astype(np.float32)


def _digits(ink: np.ndarray, labels: np.ndarray) -> Digits:
    return Digits(ink, labels, hashlib.sha256(ink.tobytes() + labels.tobytes()).hexdigest()[:16])


def _idx(path: str, kind: int) -> np.ndarray:
    """The array of an IDX file of unsigned bytes. Raises UsageError for what is none, or holds less or more than it says."""
    try:
        content = read_bytes(path)
        most = largest()
        if content[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(content)) as file:
                content = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(content) > most:
        raise UsageError(f"{path} holds more than the {in_words(most)} that may be read")
    n_axes = kind % 256
    start = 4 + 4 * n_axes
    if len(content) < start or struct.unpack(">I", content[:4])[0] != kind:
        raise UsageError(f"{path} is no IDX file of {'pictures' if kind == IDX_IMAGES else 'labels'}")
    shape = struct.unpack(f">{n_axes}I", content[4:start])
    if int(np.prod(shape, dtype=object)) != len(content) - start or 0 in shape:
        raise UsageError(f"{path} says that it holds {shape} bytes, and holds {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
