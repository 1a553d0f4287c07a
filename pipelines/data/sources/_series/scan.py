"""Where the series of a long table begin and end, found in one pass whose memory is flat."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.data.sources._series.table import Bad, Columns, blocks


class Run(NamedTuple):
    """A series of a file, or some windows in a row of it; plain values, because it travels in a part."""

    file: str
    """Relative to the root."""
    num_bytes: int
    rows: int | None = None
    """Of the whole series; None: all that the file has, one sample."""
    first: int = 0
    """Row of the file at which the series begins."""
    start: int = 0
    """Number of its first window."""
    windows: int = 1
    """How many of them."""
    offset: int = 0
    """Byte of the file to read from, 0 for its header ..."""
    row: int = 0
    """... and the number of the row that begins there."""
    test: bool | None = None
    """Whether it lies in the end of its series that is held out; None: nothing is held out by time."""

    def starts(self, window: int | None, stride: int | None) -> list[int]:
        """Row of the file at which each sample begins."""
        if window is None or self.rows is None:
            return [self.first]
        last, step = max(self.rows - window, 0), stride or window
        return [self.first + min(k * step, last) for k in range(self.start, self.start + self.windows)]

    def length(self, window: int | None) -> int | None:
        """Rows of a sample; None: all."""
        return self.rows if window is None or self.rows is None else min(window, self.rows)


def num_windows(rows: int, window: int | None, stride: int | None) -> int:
    """Windows that cover all rows; the last one ends with the series."""
    return 1 if window is None or rows <= window else 1 - (-(rows - window) // (stride or window))


def segments(first: int, rows: int, window: int | None, tail: float | None) -> list[tuple[int, int, bool | None]]:
    """(first row, rows, whether held out) of a series: one, or what comes before its tail and the tail.

    No window has rows of both, so neighbors in time do not straddle the splits. A series that is too short for a window
    on either side is trained on.
    """
    if tail is None or window is None:
        return [(first, rows, None)]
    held_out = round(rows * tail)
    if held_out < window or rows - held_out < window:
        return [(first, rows, False)]
    return [(first, rows - held_out, False), (first + rows - held_out, held_out, True)]


def runs_of(
    path: Path,
    file: str,
    columns: Columns,
    column: str | None,
    window: int | None,
    stride: int | None,
    most: int,
    tail: float | None = None,
) -> Iterator[Run]:
    """Every series of a table, one run for each `most` windows.

    Args:
        tail: share of each series, its end, that is held out.
    Raises:
        Bad: not a table, or the rows of one id do not lie together.
    """
    begins: list[tuple[int, int]] = []  # (byte, row) of each block
    series: list[tuple[int, str]] = []  # (first row, id)
    seen: set[str] = set()
    total = 0
    for block in blocks(path, columns.names, [column or columns.values[0]]):
        begins.append((block.offset, block.row))
        total = block.row + len(block.table)
        if column is None:
            series = series or [(0, "")]
            continue
        ids = np.asarray(block.table[column].to_numpy(), dtype=object)
        changes = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        for place in changes.tolist():
            name = ids[place]
            if series and series[-1][1] == name:
                continue
            if name in seen:
                raise Bad(f"'{name}' comes again in column '{column}' at row {block.row + place}; sort the file by it")
            seen.add(name)
            series.append((block.row + place, name))
    if not series:
        raise Bad("has a header but no rows")
    per_row = path.stat().st_size / total
    places = [row for _, row in begins]
    ends = [row for row, _ in series[1:]] + [total]
    parts = [
        part
        for (first, _), end in zip(series, ends, strict=True)
        for part in segments(first, end - first, window, tail)
    ]
    for first, rows, test in parts:
        count = num_windows(rows, window, stride)
        for start in range(0, count, most):
            some = min(most, count - start)
            run = Run(file, 0, rows, first, start, some, test=test)
            starts = run.starts(window, stride)
            reach = starts[-1] + (run.length(window) or 0) - starts[0]
            offset, row = begins[int(np.searchsorted(places, starts[0], side="right")) - 1]
            yield run._replace(num_bytes=int(per_row * reach), offset=offset, row=row)
