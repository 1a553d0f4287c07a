"""A CSV table of numbers, block by block: columns chosen by its first rows, cells checked, memory flat.

Rows are counted from 0 below the header, as in origins. A cell must not contain a line break.
Shapes: T rows, C value columns.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from pipelines.data.sources._files import missing_column, reason

BLOCK_BYTES = 4 << 20
"""Read at once; the longest line, too."""
FIRST_ROWS = 1000
"""That tell which columns are numbers."""
MISSING = ("", "nan", "na", "n/a", "null", "none")
"""Cells that hold no value; case does not matter."""


class Bad(ValueError):
    """A file that is no such table, in a few words."""


class Columns(NamedTuple):
    """Which columns of a table are what."""

    names: tuple[str, ...]
    """All of them."""
    values: tuple[str, ...]
    time: str | None
    time_kind: str
    """int, float (seconds) or date."""


class Block(NamedTuple):
    """Some rows."""

    offset: int
    """Byte at which its first line starts."""
    row: int
    table: pa.Table
    """Only the columns asked for, all of them text."""


@dataclass
class Numbers:
    """The numbers of some rows."""

    values: NDArray[np.float64]  # [T, C]
    time: NDArray[np.int64] | None  # [T]
    bad: dict[int, str] = field(default_factory=dict)
    """Row of the file -> what is wrong with one of its cells."""


def separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def columns_of(path: Path, values: tuple[str, ...], time: str | None, others: dict[str, str | None]) -> Columns:
    """Choose columns: by default as values all but those whose first cell that is not missing is no number.

    Args:
        path: the table.
        values: columns named by the config, or none.
        time: column of times.
        others: config key -> further column that is no value.
    Raises:
        Bad: not a table with a header and rows of numbers.
        UserError: a column that the config names is not there.
    """
    try:
        with path.open("rb") as file:
            start = file.read(BLOCK_BYTES).decode("utf-8-sig", "replace")  # it may end within a character
        rows = list(islice(csv.reader(io.StringIO(start), delimiter=separator(path)), FIRST_ROWS))
    except (OSError, csv.Error) as error:
        raise Bad(f"not a readable CSV table ({reason(error)})") from None
    names = rows[0] if rows else []
    if not names or len(set(names)) < len(names):
        raise Bad("two columns have the same name" if names else "empty file")
    for key, name in [("source.values", name) for name in values] + [("source.time", time), *others.items()]:
        if name is not None and name not in names:
            raise missing_column(key, name, path, names)
    first = {
        name: next((row[i] for row in rows[1:] if len(row) > i and not _is_missing(row[i])), "")
        for i, name in enumerate(names)
    }
    apart = {"", time, *others.values()}
    found = values or tuple(
        name for name in names if name not in apart and (_is_missing(first[name]) or _is_number(first[name]))
    )
    if not found:
        raise Bad("has a header but no rows" if len(rows) < 2 else f"no column of numbers among {', '.join(names)}")
    kind = "date"
    if time is not None and _is_number(first[time]):
        kind = "int" if first[time].strip().lstrip("+-").isdecimal() else "float"
    return Columns(tuple(names), found, time, kind)


def blocks(path: Path, names: tuple[str, ...], wanted: list[str], offset: int = 0, row: int = 0) -> Iterator[Block]:
    """The rows from byte `offset` on, whose first is number `row`; 0: from behind the header.

    Raises:
        Bad: a row of another number of cells, a line without end, not UTF-8.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        file.seek(offset)
        if offset == 0:
            offset = len(file.readline(BLOCK_BYTES))
        rest = b""
        while True:
            read = file.read(BLOCK_BYTES)
            data = rest + read
            end = data.rfind(b"\n") + 1 if read else len(data)
            if read and end == 0 and len(data) > BLOCK_BYTES:
                raise Bad(f"a line of more than {BLOCK_BYTES >> 20} MB")
            if end and data[:end].strip():
                table = _parsed(data[:end], path, names, wanted, row)
                yield Block(offset, row, table)
                row += len(table)
            offset += end
            rest = data[end:]
            if not read:
                return


def numbers(block: pa.Table, columns: Columns, first: int) -> Numbers:
    """Text to numbers; a cell that is none makes its row bad, and no other.

    Args:
        block: rows as text.
        columns: which are values, which is time.
        first: row of the file that its first row is.
    """
    made = Numbers(np.empty((len(block), len(columns.values))), None)
    for index, name in enumerate(columns.values):
        found, wrong = _cast(_known(block[name]), "float")
        made.values[:, index] = found.to_numpy(zero_copy_only=False).astype(np.float64)
        for row, text in wrong.items():
            made.bad.setdefault(first + row, f"'{text}' in column '{name}' at row {first + row} is not a number")
    if columns.time is not None:
        found, wrong = _cast(_known(block[columns.time]), columns.time_kind)
        said = {"int": "a whole number", "float": "a number of seconds", "date": "a date such as 2024-01-31T12:00:00"}
        for row in np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False)).tolist():
            text = f"'{wrong[row]}'" if row in wrong else "no time"
            what = f"is not {said[columns.time_kind]}" if row in wrong else "is given"
            made.bad.setdefault(first + row, f"{text} in column '{columns.time}' at row {first + row} {what}")
        whole = pc.round(pc.multiply(found, 1e9)).cast(pa.int64()) if columns.time_kind == "float" else found
        made.time = whole.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return made


def _parsed(data: bytes, path: Path, names: tuple[str, ...], wanted: list[str], row: int) -> pa.Table:
    odd: list[Any] = []

    def keep(found: Any) -> str:
        odd.append(found)
        return "skip"

    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            arrow_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=list(names)),
            arrow_csv.ParseOptions(
                delimiter=separator(path), invalid_row_handler=keep, ignore_empty_lines=len(names) > 1
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=wanted, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise Bad(f"not a readable CSV table ({reason(error)})") from None
    if odd:
        at = "" if odd[0].number is None else f" {row + odd[0].number - 1}"
        raise Bad(f"row{at} has {odd[0].actual_columns} cells, not {odd[0].expected_columns}: '{odd[0].text[:60]}'")
    return table


def _known(column: pa.ChunkedArray) -> pa.Array:
    """Text without spaces around it; null where it stands for nothing."""
    text = pc.utf8_trim_whitespace(column.combine_chunks())
    is_missing = pc.is_in(pc.utf8_lower(text), pa.array(MISSING))
    return pc.if_else(is_missing, pa.scalar(None, pa.string()), text)


def _cast(text: pa.Array, kind: str) -> tuple[pa.Array, dict[int, str]]:
    """Text to float64, int64 or nanoseconds; what cannot be is null, and named by its place."""
    try:
        return _cast_all(text, kind), {}
    except pa.ArrowInvalid:
        wrong: dict[int, str] = {}
        for place, cell in enumerate(text.to_pylist()):
            try:
                _cast_all(pa.array([cell], pa.string()), kind)
            except pa.ArrowInvalid:
                wrong[place] = cell[:40]
        kept = [None if place in wrong else cell for place, cell in enumerate(text.to_pylist())]
        return _cast_all(pa.array(kept, pa.string()), kind), wrong


def _cast_all(text: pa.Array, kind: str) -> pa.Array:
    if kind == "float":
        return text.cast(pa.float64())
    if kind == "int":
        return text.cast(pa.int64())
    try:
        return text.cast(pa.timestamp("ns")).cast(pa.int64())
    except pa.ArrowInvalid:  # with a time zone
        return text.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())


def _is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
