"""Text from elsewhere, made harmless for where it goes: a terminal, a table that a spreadsheet opens, Markdown.

Messages of errors, names in plug-ins, labels and values of fields are whatever somebody wrote. Here is the one way to write each of them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# What a spreadsheet takes for a formula, or what hides one from a look at the first character.
FORMULA = re.compile(r"'*(?:\s*[=+\-@\uff0b\uff0d\uff1d\uff20]|[\t\r\n])")
# What begins or ends markup; a bracket does so before a second one alone, and a sign at the start of a line.
MARKUP = re.compile(r"[\\`*|~]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|\](?=[(\[:])|&(?=#?\w+;)|^(?:[#>]|[+-](?=\s))")

SPECIAL = re.compile('[,"\\r\\n]')  # what a cell of a CSV may have only between quotes
# What of a list of floats JSON and Python write in two ways: very large and very small ones, and what is no float.
OTHER_IN_JSON = re.compile(r'[en"]|(?<![.\d])\d{17}|(?<!\d)0\.0000')
ROWS_AT_A_TIME = 20_000


def printable(text: str) -> str:
    """`text` without what a terminal obeys: a control character, or one that turns the direction of writing, is written as its escape."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def one_line(text: str) -> str:
    """`printable` text on one line, so that no message can look like two."""
    return printable(" ".join(text.split()))


def say(*texts: str, **options: object) -> None:
    """Prints texts, each `printable`: the one way to write on the terminal what a file, a row or a plug-in may have a part in."""
    print(*map(printable, texts), **options)  # type: ignore[call-overload]


def count(n: float, thing: str) -> str:
    """How many of a thing: "1 trial", "2 trials"; a fraction of a thing is possible too."""
    return f"{n:.10g} {thing}" + ("" if n == 1 else "s")


def cell(text: str) -> str:
    """`text` as a cell of a CSV that no spreadsheet evaluates: one that begins like a formula, and is no number, gets an apostrophe first."""
    return f"'{text}" if FORMULA.match(text) and not _is_number(text) else text


def of_cell(text: str) -> str:
    """The text of which `cell` made this one."""
    return text[1:] if text.startswith("'") and cell(text[1:]) == text else text


def csv_text(table: pd.DataFrame) -> str:
    """`table` as CSV, with every text and heading as `cell` writes it. Numbers are written as they are."""
    return "".join(csv_pieces(table))


def csv_pieces(table: pd.DataFrame) -> Iterator[str]:
    """`csv_text` in pieces of some thousand rows, which a large table can be written by without being in memory twice."""
    yield ",".join(_quoted(cell(str(name))) for name in table) + "\n"
    for start in range(0, len(table), ROWS_AT_A_TIME):
        rows = table.iloc[start : start + ROWS_AT_A_TIME]
        columns = [_cells(rows.iloc[:, place]) for place in range(rows.shape[1])]
        if len(columns) == 1:  # a line without anything would be no row
            columns = [[text or '""' for text in columns[0]]]
        yield "".join(f"{','.join(texts)}\n" for texts in zip(*columns, strict=True))


def _cells(column: pd.Series) -> list[str]:
    """Each value of a column as CSV has it."""
    import numpy as np

    kind = column.dtype.kind if isinstance(column.dtype, np.dtype) else "O"
    if kind in "biu":
        return list(map(str, column.tolist()))
    if kind == "f":
        return _numbers(column.to_numpy())
    known: dict[str, str] = {}  # texts repeat
    found = []
    for value, is_missing in zip(column.tolist(), column.isna().tolist(), strict=True):
        if is_missing:
            found.append("")
        elif not isinstance(value, str):
            found.append(_quoted(_list_text(value) if type(value) is list else str(value)))
        else:
            text = known.get(value)
            if text is None:
                text = known[value] = _quoted(cell(value))
            found.append(text)
    return found


def _numbers(values: np.ndarray) -> list[str]:
    """Floats as Python writes them, by the shortest text that is read as the same number; nothing for NaN."""
    import numpy as np

    if values.dtype != np.float64 or not len(values):
        return ["" if missing else text for text, missing in zip(values.astype(str), np.isnan(values), strict=True)]
    texts = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")
    # What is not finite is no JSON, and JSON writes exponents in another way.
    sizes = np.abs(values)
    for place in np.flatnonzero(~((sizes >= 1e-4) & (sizes < 1e16)) & (sizes != 0)):
        number = float(values[place])
        texts[place] = "" if number != number else repr(number)
    return texts


def _list_text(values: list[Any]) -> str:
    """A list as Python writes it; of floats, of which a table has many, as JSON does where that is the same."""
    if values and type(values[0]) is float:
        try:
            text = orjson.dumps(values).decode()
        except TypeError:
            return str(values)
        if not OTHER_IN_JSON.search(text):
            return text.replace(",", ", ")
    return str(values)


def _quoted(text: str) -> str:
    if not SPECIAL.search(text):
        return text
    if "\r" not in text:
        return '"' + text.replace('"', '""') + '"'
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerow([text])  # versions of Python differ
    return written.getvalue().removesuffix("\n")


def markdown(text: str) -> str:
    """`text` as a part of a line of Markdown that shows it as it is: no markup, no link, no second cell, no second line."""
    return MARKUP.sub(r"\\\g<0>", one_line(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
