"""Append-only files of JSON lines that a kill at any moment leaves readable.

One process writes at a time, any process may read. Killing the writer can at worst tear the last line, which the next
writer cuts off and readers do not look at.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.errors import UserError

Line = dict[str, Any]


def append(path: Path, lines: list[Line], sync: bool = False) -> None:
    """Write whole lines at the end; with `sync` they are on the disk when this returns.

    Raises:
        OSError: the storage is full or not writable; none of the lines is there.
    """
    data = memoryview("".join(json.dumps(line) + "\n" for line in lines).encode())
    path.touch()
    with path.open("rb+", buffering=0) as file:
        cut_torn_line(file)
        end = file.seek(0, os.SEEK_END)
        try:
            while data:  # a disk that is nearly full takes a part
                data = data[file.write(data) :]
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise
        if sync:
            os.fsync(file.fileno())


def flush(path: Path) -> None:
    """What was written to a file, or the names in a folder, is on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> Iterator[Line]:
    """Every complete line; none if there is no file."""
    if path.exists():
        with path.open("rb") as file:
            yield from (line for _, line in lines(file, path))


def lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, Line]]:
    """(offset after the line, line) of every complete line from where the file stands.

    Raises:
        UserError: a line in the middle is damaged.
    """
    end = file.tell()
    for raw in file.read().split(b"\n")[:-1]:  # one read: a writer may rewind meanwhile
        end += len(raw) + 1
        try:
            line = json.loads(raw)
        except ValueError:
            raise UserError(f"{path}: the line that ends at byte {end} is damaged; delete it and run again") from None
        yield end, line


def cut_torn_line(file: BinaryIO | Any) -> None:
    """Drop what follows the last newline: a writer was killed in the middle of a line."""
    size = end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        file.truncate(end)
    file.seek(0)
