"""Reads files of arrays and tables, and takes numbers or labels from an array or a column, whatever its type."""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.files import NoArrays, in_words, largest, read_arrays, read_bytes
from bench.registry import UsageError, lazy_module

pa = lazy_module("pyarrow")
csv = lazy_module("pyarrow.csv")
parquet = lazy_module("pyarrow.parquet")

TABLES = (".csv", ".parquet", ".pq")  # how the names of tables end; any other file is taken for an .npz file
MOST_COLUMNS = 100_000
NUMBER = 8  # bytes
MOST_WORDS = 0.2  # part of a column that was meant to hold numbers


@dataclass(frozen=True)
class Contents:
    """What a file holds: the names of all its arrays or columns, and those values that can be used.

    A value is a numpy array of a wanted name, or a column of a table as an Arrow array: not one that holds lists, nor an index.
    """

    names: list[str]
    values: dict[str, Any]
    is_table: bool


def read(path: str, is_wanted: Callable[[str], bool]) -> Contents:
    """Returns the contents of an .npz, .csv or .parquet file; of an .npz file only arrays of wanted names. Raises UsageError."""
    suffix = Path(path).suffix.lower()
    kind = {".csv": "a .csv table", ".npz": "an .npz file"}.get(suffix, "a .parquet table")
    kind = kind if suffix in TABLES else "an .npz file"
    try:
        if suffix not in TABLES:
            return _arrays(path, is_wanted)
        content = read_bytes(path)
    except OSError as error:
        raise UsageError(f"{path} is not {kind} that can be read ({error.strerror})") from None
    except NoArrays as error:
        raise UsageError(f"{path} is not {kind} of plain arrays: {error}") from None
    try:
        table, names = _csv(content) if suffix == ".csv" else _parquet(content)
        twice = next((name for name, n in Counter(names).items() if n > 1), None)
        if twice is not None:
            raise ValueError(f"it has two columns called {twice!r}")
        usable = [name for name in table.column_names if not _is_index(name)]
        values = {name: table.column(name).combine_chunks() for name in usable}
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, MemoryError, OverflowError) as error:
        text = str(error) or type(error).__name__
        raise UsageError(f"{path} is not {kind} that can be read ({text[:300]})") from None
    return Contents(names, values, is_table=True)


def _arrays(path: str, is_wanted: Callable[[str], bool]) -> Contents:
    names = []

    def wanted(name: str) -> bool:
        names.append(name)
        return is_wanted(name)

    values = read_arrays(path, wanted)
    return Contents(names, values, is_table=False)


def _csv(content: bytes) -> tuple[Any, list[str]]:
    """The table in a CSV file, and the names of all its columns. Types are those of all rows: Arrow looks at the first block alone, so there is one."""
    header = re.match(rb"[^\r\n]*", content)
    if header and b"," not in header[0] and b";" in header[0]:
        raise ValueError("its columns are separated by ';': they must be by ',', and numbers be written as 1.5")
    _check_size(header[0].count(b",") + 1 if header else 0, content.count(b",") + content.count(b"\n"))
    options = csv.ReadOptions(use_threads=False, block_size=min(len(content) + 1, 2**31 - 1))
    table = csv.read_csv(pa.BufferReader(content), read_options=options)
    return table, table.column_names


def _parquet(content: bytes) -> tuple[Any, list[str]]:
    """The columns of a Parquet file that hold single values, without an index of pandas, and the names of all.

    Texts stay encoded: one of a megabyte may stand in all rows.
    """
    file = parquet.ParquetFile(pa.BufferReader(content))
    schema, groups = file.schema_arrow, [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    _check_size(len(schema), file.metadata.num_rows * len(schema))
    size = sum(column.total_uncompressed_size for column in columns)
    if size > largest():
        raise ValueError(f"its columns take {in_words(size)}, more than the {in_words(largest())} that may be read")
    index = [name for name in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)]
    names = [f.name for f in schema if not pa.types.is_nested(f.type) and f.name not in index]
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    texts = [f.name for f in schema if any(is_kind(f.type) for is_kind in kinds)]
    table = parquet.ParquetFile(pa.BufferReader(content), read_dictionary=texts).read(names, use_threads=False)
    return table, [field.name for field in schema if field.name not in index]


def _check_size(n_columns: int, n_values: int) -> None:
    """Raises ValueError for a table that would take more memory than a file may, since a few bytes can stand for many numbers."""
    if n_columns > MOST_COLUMNS:
        raise ValueError(f"it has {n_columns} columns, and may have {MOST_COLUMNS}")
    if n_values * NUMBER > largest():
        raise ValueError(
            f"its {n_values} values take {in_words(n_values * NUMBER)}, more than the {in_words(largest())} that may be read"
        )


def _is_index(name: str) -> bool:
    """Says whether a column has no name, as the index that pandas writes into a table by default, which is no variable."""
    return not name.strip() or re.fullmatch(r"Unnamed: \d+|__index_level_\d+__", name) is not None


def numbers(value: Any) -> np.ndarray | None:
    """Returns an array or a column as real numbers, truths as 0 and 1, what is missing as NaN; None if it holds anything else."""
    if not isinstance(value, np.ndarray):
        kind = value.type
        if pa.types.is_boolean(kind):
            value = value.cast(pa.uint8())
        elif pa.types.is_decimal(kind):
            value = value.cast(pa.float64())
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            return None
        return value.to_numpy(zero_copy_only=False)
    return value.astype(np.uint8) if value.dtype == bool else value if value.dtype.kind in "iuf" else None


def labels(value: Any) -> tuple[np.ndarray, list[str]]:
    """Returns what an array or a column (n,) holds as labels: the number of each one's label, and the labels as texts.

    They are numbered from 0, numbers by their size, others by the alphabet, whatever the file's order; -1 stands for what is missing.
    """
    if isinstance(value, np.ndarray):
        found, codes = np.unique(value, return_inverse=True)
        raw = found.tolist()
    else:
        encoded = value if pa.types.is_dictionary(value.type) else value.dictionary_encode()
        codes, raw = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(), encoded.dictionary.to_pylist()
    used = set(np.unique(codes).tolist())  # a category need not occur
    texts = ["" if place not in used else label_text(label) for place, label in enumerate(raw)]
    known = sorted(set(texts) - {""})
    if all(_number(text) is not None for text in known):
        known.sort(key=lambda text: (_number(text), text))
    place_of = {text: place for place, text in enumerate(known)}
    number_of = np.array([*(place_of.get(text, -1) for text in texts), -1])  # the last is that of what is missing
    return number_of[codes.reshape(-1)], known


def label_text(label: Any) -> str:
    """A label as text, the same from every kind of file: 3 and 3.0 are 3. Nothing for what is missing."""
    if label is None or label != label:
        return ""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return (label.decode(errors="replace") if isinstance(label, bytes) else str(label)).strip()


def _number(text: str) -> float | None:
    """A text as a finite number."""
    number = _as_float(text)
    return number if number is not None and math.isfinite(number) else None


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def of_frame(frame: Any) -> bytes:
    """Returns a pandas frame, without its index, as the content of a Parquet file. Raises UsageError for columns that no file can hold."""
    content = io.BytesIO()
    try:
        named = frame.set_axis([str(name) for name in frame.columns], axis=1)
        parquet.write_table(pa.Table.from_pandas(named, preserve_index=False), content)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise UsageError(f"the frame cannot be kept as a table: {error}") from None
    return content.getvalue()


def words_among_numbers(value: Any) -> tuple[int, int, str] | None:
    """How many entries of a column of texts are no numbers, and the first of them with its row; None unless most others are numbers."""
    values = value.type.value_type if pa.types.is_dictionary(value.type) else value.type
    if not (pa.types.is_string(values) or pa.types.is_large_string(values)):
        return None
    texts = value.to_pylist()
    rows = [row for row, text in enumerate(texts) if text and _as_float(text) is None]
    n_texts = sum(map(bool, texts))
    return (len(rows), rows[0], texts[rows[0]]) if 0 < len(rows) < MOST_WORDS * n_texts else None
