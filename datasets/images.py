"""Which arrays are images, and the order of their numbers: channels first, then rows, then columns."""

from __future__ import annotations

import numpy as np

from bench.registry import UsageError
from datasets import Units
from datasets.columns import is_constant, rounding

CHANNELS = (1, 3, 4)  # grey, colours, colours with an opacity
FEWEST_PIXELS = (
    8  # on a side: what is smaller is a matrix of variables. So no axis can be one of channels and one of pixels.
)
BLOCK = 2**23  # numbers that are in double precision at a time: those of images take a byte in their file


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Returns the axis of the channels of points of `shape`, 0 or -1, once a grey image has one in front; None where they are no images.

    Points of two axes are grey images. Of three axes the first or the last one, of length 1, 3 or 4, has the channels.
    """
    shape = (1, *shape) if len(shape) == 2 else shape
    for axis, sides in ((0, shape[1:]), (-1, shape[:-1])):
        if len(shape) == 3 and shape[axis] in CHANNELS and min(sides) >= FEWEST_PIXELS:
            return axis
    return None


def channels_first(shape: tuple[int, ...]) -> tuple[tuple[int, int, int], np.ndarray]:
    """Returns (channels, height, width) of images of `shape`, and the places of their numbers, in this order, in a flat point."""
    places = np.arange(np.prod(shape)).reshape(shape if len(shape) == 3 else (1, *shape))
    places = np.moveaxis(places, channel_axis(shape) or 0, 0)
    channels, height, width = places.shape
    return (channels, height, width), places.ravel()


def scaled_alike(where: str, x: np.ndarray) -> tuple[np.ndarray, Units]:
    """Returns flat images `x` (n_samples, n_values) centred and scaled by two numbers for all, in float32, and these; none is greater than 1.

    Raises UsageError where a value is not finite, or all images are the same.
    """
    blocks = np.array_split(np.arange(len(x)), max(1, x.size // BLOCK))
    greatest = 0.0
    for rows in blocks:
        finite = np.isfinite(x[rows])
        if not finite.all():
            row, place = np.argwhere(~finite)[0]
            raise UsageError(
                f"{where}: x holds values that are not finite, the first in row {rows[row]} (column {place})"
            )
        greatest = max(greatest, float(np.abs(x[rows].astype(float)).max()))
    columns = np.array_split(np.arange(x.shape[1]), max(1, x.size // BLOCK))
    if all(is_constant(x[:, at], rounding(x.dtype)).all() for at in columns):
        raise UsageError(f"{where}: every image of x is the same")
    # Centred before they lose digits.
    mean = sum(float((x[rows] / greatest).sum()) for rows in blocks) / x.size
    found = np.empty(x.shape, np.float32)
    for rows in blocks:
        found[rows] = (x[rows] / greatest - mean) / 2
    return found, Units(np.array(mean * greatest), np.array(2 * greatest))
