"""Text from elsewhere on a terminal, in a CSV and in Markdown."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.text import cell, count, csv_text, markdown, of_cell, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("over\rwritten", r"over\rwritten"),
        ("\b\x07\x00\x7f\x9b", r"\x08\x07\x00\x7f\x9b"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("half a character \udcff", r"half a character \udcff"),
        ("a\u2028b", r"a\u2028b"),
        ("two\nlines\tand a tab, – † é 😀", "two\nlines\tand a tab, – † é 😀"),
    ],
)
def test_what_a_terminal_obeys_is_written_as_its_escape(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_a_message_is_one_line_that_a_terminal_only_shows(text):
    assert all(letter.isprintable() for letter in one_line(text))


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|'/c calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "'=1", "＝1", "-", "=", "- x"],
)
def test_a_cell_that_begins_like_a_formula_is_text_to_a_spreadsheet(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["-0.5", "+3", "-1e-300", "-inf", "0.5", "a=1", "a-b", "", "'quoted'", "domains=2", "–"]
)
def test_numbers_and_other_texts_stay_as_they_are(text):
    assert cell(text) == text


@given(st.text(alphabet="'=+-@\t\r\n 1a"))
def test_a_cell_can_be_read_back(text):
    assert of_cell(cell(text)) == text


def test_a_table_keeps_its_numbers_and_loses_its_formulas():
    table = pd.DataFrame(
        {"=method": ["=1+1", "vae", None], "score": [-0.1, 1e-310, float("nan")], "n": [-1, 2, 3], "lists": [[-1], None, ["=1"]]}
    )  # fmt: skip
    text = csv_text(table)
    read = pd.read_csv(io.StringIO(text))
    assert list(read) == ["'=method", "score", "n", "lists"]
    assert read["'=method"].tolist()[:2] == ["'=1+1", "vae"] and read["'=method"].isna()[2]
    pd.testing.assert_frame_equal(read[["score", "n"]], table[["score", "n"]])
    assert read["lists"].tolist()[0] == "[-1]"
    assert table["=method"][0] == "=1+1"  # the table itself is as it was


def test_a_table_without_formulas_is_written_as_pandas_writes_it():
    table = pd.DataFrame({"a": ["x", None, "-1"], "b": [1.5, 2.0, None], "c": [True, False, None]})
    assert csv_text(table) == table.to_csv(index=False)


NUMBERS = st.floats() | st.sampled_from([1e-4, 9.999e-5, 1e16, 1e15, -0.0, 123456789012345678.0, 1e21, 1e22])
OTHERS = st.integers() | st.booleans() | st.none() | st.text(alphabet="a,'\"\n\r ", max_size=3).map("x".__add__)


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS | OTHERS, st.lists(NUMBERS) | st.lists(NUMBERS | OTHERS)), min_size=1))
def test_every_number_text_and_list_is_written_as_pandas_writes_it(rows):
    table = pd.DataFrame(rows, columns=["numbers", "mixed", "lists"]).astype({"mixed": object})
    assert csv_text(table) == table.to_csv(index=False)
    assert csv_text(table[["numbers"]]) == table[["numbers"]].to_csv(index=False)


def test_a_table_in_several_pieces_is_the_same_text(monkeypatch):
    table = pd.DataFrame({"a": ["x", "=1", None] * 3, "b": np.arange(9) / 7})
    whole = csv_text(table)
    monkeypatch.setattr("bench.text.ROWS_AT_A_TIME", 2)
    assert csv_text(table) == whole


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", r"a \| b"),
        ("<script>alert(1)</script>", r"\<script>alert(1)\</script>"),
        ("[x](javascript:alert(1))", r"[x\](javascript:alert(1))"),
        ("![x][y] [y]: z", r"![x\][y] [y\]: z"),
        ("`code` *loud* ~~gone~~ _slanted_", r"\`code\` \*loud\* \~\~gone\~\~ \_slanted\_"),
        ("back\\", "back\\\\"),
        ("p <.001, a < b", "p <.001, a < b"),
        ("&lt;b&gt;", r"\&lt;b\&gt;"),
        ("# title\n\n| a |", r"\# title \| a \|"),
        ("- item", r"\- item"),
        ("\x1b[31m", r"\\x1b[31m"),
        ("mcc_spearman .945 [.932, .958], -.250, a & b, domains=2", "mcc_spearman .945 [.932, .958], -.250, a & b, domains=2"),
    ],
)  # fmt: skip
def test_markdown_shows_a_text_as_it_is(text, shown):
    assert markdown(text) == shown


@given(st.text())
def test_a_text_is_one_cell_of_one_line_of_markdown(text):
    shown = markdown(text)
    assert "\n" not in shown and "\r" not in shown
    bare = shown.replace("\\\\", "")
    assert not any(letter in bare.replace(f"\\{letter}", "") for letter in "|`*")


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 packs"), (1, "1 pack"), (1.0, "1 pack"), (2, "2 packs"), (0.5, "0.5 packs"), (10**7, "10000000 packs")],
)
def test_one_of_a_thing_is_not_plural(n, text):
    assert count(n, "pack") == text
