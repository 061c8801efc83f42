"""Columns of lists, as Arrow has them: what a million trials have a list of is never a million lists of Python's."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.compute

NUMBERS, TEXTS = arrow.float64(), arrow.string()
BETWEEN = "\x1f"  # texts of a list, when it is compared with others


def typed(values: pd.Series, inner: Any) -> tuple[pd.Series, int]:
    """A column whose values are lists of `inner`, an Arrow type, and how many of its values could not be read as one and are missing.

    A list may be text, as JSON, because another value of its column is no list.
    """
    kind = arrow.list_(inner)
    if values.dtype == pd.ArrowDtype(kind):
        return values, 0
    with contextlib.suppress(arrow.ArrowException, TypeError):  # else they are read one by one
        if isinstance(values.dtype, pd.ArrowDtype):
            return _series(arrow.array(values).cast(kind), values), 0
        return _series(arrow.array(values.tolist(), kind, from_pandas=True), values), 0
    found = [_list(value, kind) for value in values.tolist()]
    n_lost = int(values.notna().sum()) - sum(value is not None for value in found)
    return _series(arrow.array(found, kind), values), n_lost


def _series(found: Any, like: pd.Series) -> pd.Series:
    return pd.Series(found, like.index, dtype=pd.ArrowDtype(found.type))


def _list(value: Any, kind: Any) -> list[Any] | None:
    """`value` as a list of an Arrow type of lists, or None."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, list):
        return None
    try:
        return arrow.scalar(value, kind, from_pandas=True).as_py()
    except (arrow.ArrowException, TypeError, ValueError, OverflowError):
        return None


def lengths(values: pd.Series) -> np.ndarray:
    """How long each list is, (n_lists,); 0 where there is none."""
    return arrow.compute.list_value_length(arrow.array(values)).fill_null(0).to_numpy(zero_copy_only=False)


def flat(values: pd.Series) -> np.ndarray:
    """What the lists hold, one after the other; a number that is missing is NaN, a text None."""
    return arrow.compute.list_flatten(arrow.array(values)).to_numpy(zero_copy_only=False)


def codes(values: pd.Series) -> np.ndarray:
    """A number for each list of texts, (n_lists,), the same for equal ones; -1 where there is none."""
    joined = arrow.compute.binary_join(arrow.array(values), BETWEEN)
    return pd.factorize(pd.Series(joined, dtype="str"))[0]
