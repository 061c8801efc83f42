"""Text from elsewhere, made harmless for where it goes: a terminal, a table that a spreadsheet opens, Markdown.

Messages of errors, names in plug-ins, labels and values of fields are whatever somebody wrote. Here is the one way to write each of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# What a spreadsheet takes for a formula, or what hides one from a look at the first character.
FORMULA = re.compile(r"'*(?:\s*[=+\-@\uff0b\uff0d\uff1d\uff20]|[\t\r\n])")
# What begins or ends markup; a bracket does so before a second one alone, and a sign at the start of a line.
MARKUP = re.compile(r"[\\`*|~]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|\](?=[(\[:])|&(?=#?\w+;)|^(?:[#>]|[+-](?=\s))")


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


def cell(text: str) -> str:
    """`text` as a cell of a CSV that no spreadsheet evaluates: one that begins like a formula, and is no number, gets an apostrophe first."""
    return f"'{text}" if FORMULA.match(text) and not _is_number(text) else text


def of_cell(text: str) -> str:
    """The text of which `cell` made this one."""
    return text[1:] if text.startswith("'") and cell(text[1:]) == text else text


def csv_text(table: pd.DataFrame) -> str:
    """`table` as CSV, with every text and heading as `cell` writes it. Numbers are written as they are."""
    found = {}
    for name in table:
        if table[name].dtype.kind not in "biufc":
            values = table[name].tolist()
            harmless = [cell(value) if isinstance(value, str) else value for value in values]
            if any(old is not new for old, new in zip(values, harmless, strict=True)):
                found[name] = harmless
    return table.assign(**found).rename(columns=lambda name: cell(str(name))).to_csv(index=False)


def markdown(text: str) -> str:
    """`text` as a part of a line of Markdown that shows it as it is: no markup, no link, no second cell, no second line."""
    return MARKUP.sub(r"\\\g<0>", one_line(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
