"""Whether the columns of a table vary, or hold one number and its rounding."""

from __future__ import annotations

import numpy as np

# A standard deviation this small beside the largest magnitude is the rounding of half, single or double precision, and no signal.
ROUNDING = {np.dtype(np.float16): 2e-3, np.dtype(np.float32): 2e-7, np.dtype(np.float64): 1e-13}


def rounding(dtype: np.dtype) -> float:
    """Returns the relative rounding of numbers of this type; that of double precision for whole numbers."""
    return ROUNDING.get(dtype.newbyteorder("="), ROUNDING[np.dtype(np.float64)])


def of_order_one(columns: np.ndarray) -> np.ndarray:
    """Returns columns (n_samples, n_columns) in float64, each divided by a power of two: none is greater than 1, one number at least 1/2.

    That changes no digit, and leaves room for sums, squares and quotients. Numbers that are not finite stay so.
    """
    values = _doubles(columns)
    return np.ldexp(values, -exponents(values))


def exponents(columns: np.ndarray) -> np.ndarray:
    """Returns the exponents (n_columns,) of the powers of two by which `of_order_one` divides columns (n_samples, n_columns)."""
    values = _doubles(columns)
    return np.frexp(np.abs(values).max(axis=0, initial=0, where=np.isfinite(values)))[1]


def _doubles(columns: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what double precision cannot hold becomes infinite
        return columns.astype(float, copy=False)


def is_constant(columns: np.ndarray, relative: float | None = None) -> np.ndarray:
    """Says of each column (n_samples, n_columns) whether it varies by no more than its rounding: boolean (n_columns,).

    The standard deviation is compared with `relative` times the largest magnitude, by default the rounding of the array's type.
    """
    relative = rounding(columns.dtype) if relative is None else relative
    values = columns.astype(float)
    magnitude = np.abs(values).max(axis=0)
    values /= np.where(magnitude > 0, magnitude, 1)
    # Around the first value: the mean of many equal numbers can be off by more than their rounding.
    return (values - values[:1]).std(axis=0) <= relative
