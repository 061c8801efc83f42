"""Columns of lists: what is read as one, and what its parts are, against Python's own lists."""

import numpy as np
import pandas as pd
import pyarrow as arrow
import pytest

from bench.report import lists

NUMBERS = [[1.0, None, 3.0], None, [], [4.0]]
TEXTS = [["yes", "no"], None, ["yes", "no"], ["no", "yes"], ["yesno"], []]


def test_lengths_and_what_lists_hold_are_those_of_the_lists():
    found, n_lost = lists.typed(pd.Series(NUMBERS), lists.NUMBERS)
    assert n_lost == 0 and lists.lengths(found).tolist() == [3, 0, 0, 1]
    np.testing.assert_array_equal(lists.flat(found), [1.0, np.nan, 3.0, 4.0])
    half = pd.concat([found, found])[[True, False] * 4]
    np.testing.assert_array_equal(lists.flat(half), [1.0, np.nan, 3.0] * 2)


def test_equal_lists_of_texts_have_one_number_and_others_another():
    found, _ = lists.typed(pd.Series(TEXTS), lists.TEXTS)
    codes = lists.codes(found)
    assert codes[0] == codes[2] and codes[1] == -1 and len(set(codes)) == 5


@pytest.mark.parametrize("value", [5, "no list", [[1.0]], ["a"], {"a": 1}, True, [10**400]])
def test_what_is_no_list_of_numbers_is_missing_and_counted(value):
    found, n_lost = lists.typed(pd.Series([[1.0], value], dtype=object), lists.NUMBERS)
    assert n_lost == 1 and lists.lengths(found).tolist() == [1, 0]


@pytest.mark.parametrize("value", ["[2.5, null]", np.array([2.5, np.nan]), [2.5, None]])
def test_a_list_may_be_text_or_an_array(value):
    found, n_lost = lists.typed(pd.Series([[1.0], value], dtype=object), lists.NUMBERS)
    assert n_lost == 0
    np.testing.assert_array_equal(lists.flat(found), [1.0, 2.5, np.nan])


def test_whole_numbers_of_a_file_become_numbers():
    kept = pd.Series([[1], [2, 3]], dtype=pd.ArrowDtype(arrow.list_(arrow.int64())))
    found, n_lost = lists.typed(kept, lists.NUMBERS)
    assert n_lost == 0 and lists.flat(found).tolist() == [1.0, 2.0, 3.0]
