"""Which columns vary, and which hold one number and its rounding."""

import numpy as np
import pytest

from datasets.columns import is_constant, rounding

NOISE = np.random.default_rng(0).normal(size=1200)


def column(values, dtype=float):
    return np.asarray(values, dtype=dtype)[:, None]


@pytest.mark.parametrize(
    "values",
    [
        column(np.zeros(1200)),
        column(np.full(1_000_000, 0.1)),  # numpy's mean of it is off by 1e-12
        column(np.full(1_000_000, 0.1), np.float32),  # and of this by 1e-3
        column(1e6 + 0.05 * NOISE, np.float32),
        column(0.1 * (1 + 1e-16 * NOISE)),
        column(1e200 * (1 + 1e-15 * NOISE)),
        column(np.full(1200, 7), int),
        column(np.full(1200, True), bool),
        column(1 + 1e-3 * NOISE, np.float16),
    ],
)
def test_one_number_and_its_rounding_is_constant(values):
    assert is_constant(values).tolist() == [True]


@pytest.mark.parametrize(
    "values",
    [
        column(NOISE),
        column(1e-200 * NOISE),
        column(1e200 * NOISE),
        column(1.7e9 + NOISE),  # a second, since 1970
        column(1.7e9 + 1e4 * NOISE, np.float32),
        column(1_700_000_000 + np.round(NOISE), int),
        column(np.arange(1200) == 7),  # one 1 among zeros
        column(np.arange(1200) == 7, np.float32),
        column(1 + 1e-9 * NOISE),
        column(np.append(NOISE, 1e6)),  # one outlier
        column(1e6 + NOISE, ">f8"),
    ],
)
def test_what_varies_by_more_is_not(values):
    assert is_constant(values).tolist() == [False]


def test_a_column_is_judged_alone():
    table = np.column_stack([np.full(1200, 5.0), NOISE, 1e9 * NOISE, np.zeros(1200)])
    assert is_constant(table).tolist() == [True, False, False, True]
    assert is_constant(np.asfortranarray(table)).tolist() == [True, False, False, True]


def test_rounding_is_that_of_the_type_in_any_order_of_bytes():
    assert (
        rounding(np.dtype(">f4")) == rounding(np.dtype("<f4")) > rounding(np.dtype(float)) == rounding(np.dtype("i4"))
    )
    assert is_constant(column(1 + 1e-8 * NOISE), rounding(np.dtype("f4"))).tolist() == [True]
