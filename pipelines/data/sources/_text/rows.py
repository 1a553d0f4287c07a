"""Rows of text files, one after another, each with the place where the next one begins.

A row that cannot be read has a reason and the rows behind it are read all the same.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pipelines.data.sources._files import MAX_BYTES, reason

Cell = bytes | str | int | float | bool | None
TABLES = {".csv": ",", ".tsv": "\t"}
OBJECTS = (".jsonl", ".ndjson")
LINES = (".txt", ".text")
LINE = "line"
"""What the only column of a file of lines is called."""


class Row(NamedTuple):
    """One row of a file."""

    cells: dict[str, Any]
    """Column -> bytes of a text that may be no UTF-8, or what JSON has there."""
    error: str
    """Why there are none; empty: there are."""
    end: int
    """Byte at which the next row begins."""


def columns(path: Path) -> list[str] | None:
    """The names in the header of a table; None: the file has no header.

    Raises:
        OSError, csv.Error: it cannot be read.
    """
    if path.suffix.lower() not in TABLES:
        return [LINE] if path.suffix.lower() in LINES else None
    with path.open("rb") as file:
        return _header(path, _Lines(file))


def rows(path: Path, start: int = 0) -> Iterator[Row]:
    """The rows that begin at a byte or behind it; at 0 those of the whole file.

    Raises:
        OSError, csv.Error: it cannot be read.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        lines = _Lines(file)
        if suffix in TABLES:
            names = _header(path, lines)
            if start:
                lines.go(start)
            yield from _table(csv.reader(lines.decoded(), delimiter=TABLES[suffix]), names, lines)
            return
        lines.go(start)
        for line, long in lines:
            if long or not line.strip():
                if long:
                    yield Row({}, f"a line of more than {MAX_BYTES >> 20} MB", lines.at)
                continue  # a line without text separates; it is no text
            yield Row({LINE: line}, "", lines.at) if suffix in LINES else Row(*_object(line), lines.at)


def _table(found: Any, names: list[str], lines: "_Lines") -> Iterator[Row]:
    for cells in found:
        if not cells:
            continue  # a blank line is no row
        if len(cells) != len(names):
            yield Row({}, f"{len(cells)} cells, the header has {len(names)}", lines.at)
            continue
        yield Row({n: c.encode("utf-8", "surrogateescape") for n, c in zip(names, cells, strict=True)}, "", lines.at)


def _header(path: Path, lines: "_Lines") -> list[str]:
    csv.field_size_limit(MAX_BYTES)
    lines.go(0)
    return next(csv.reader(lines.decoded(), delimiter=TABLES[path.suffix.lower()]), [])


def _object(line: bytes) -> tuple[dict[str, Any], str]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        return {}, f"not a line of JSON ({reason(error)[:120]})"
    return (found, "") if isinstance(found, dict) else ({}, f"is {type(found).__name__}; needs a JSON object per line")


class _Lines:
    """The lines of a file, and where in it one is; one that would fill the memory is passed over in pieces."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.at = 0

    def go(self, place: int) -> None:
        self._file.seek(place)
        self.at = place
        if place == 0 and self._file.read(3) != b"\xef\xbb\xbf":  # a byte order mark
            self._file.seek(0)

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        """Each line, and whether it is too long to be read: then it is empty."""
        while line := self._file.readline(MAX_BYTES + 1):
            long = len(line) > MAX_BYTES
            while long and line and not line.endswith(b"\n"):
                line = self._file.readline(MAX_BYTES)
            self.at = self._file.tell()
            yield (b"", True) if long else (line, False)

    def decoded(self) -> Iterator[str]:
        """The lines for `csv`; bytes that are no UTF-8 come back as they were by `surrogateescape`."""
        for line, long in self:
            if long:
                raise csv.Error(f"a line of more than {MAX_BYTES >> 20} MB before byte {self.at}")
            yield line.decode("utf-8", "surrogateescape")
