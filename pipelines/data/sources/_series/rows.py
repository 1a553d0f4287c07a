"""The samples of a run of rows: read once, cut into windows, encoded; memory is that of a window and a block."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.data.sources._files import MAX_BYTES, reason
from pipelines.data.sources._series.scan import Run
from pipelines.data.sources._series.table import MISSING, Bad, Block, Columns, Numbers, blocks, numbers
from pipelines.storage.printable import printable
from ssl_core.codecs._series.stored import SeriesValue
from ssl_core.codecs.base import DecodeError
from ssl_core.codecs.series import Series

MAX_VALUES = MAX_BYTES // 4
CODEC = Series(Series.Config(max_values=MAX_VALUES))  # the limit of the run's config is held where it is stored


@dataclass(frozen=True)
class Piece:
    """One sample."""

    row: int
    """At which it begins."""
    data: bytes | None = None
    error: str | None = None
    label: str | None = None
    group: str | None = None


def series_of(path: Path, columns: Columns, run: Run, config: Any) -> Iterator[Piece]:
    """The samples of a run, all of them: those that cannot be read have an error.

    Args:
        path: the table.
        columns: its columns.
        run: which rows.
        config: of the source: label, group, window, stride.
    """
    starts, length = run.starts(config.window, config.stride), run.length(config.window)
    said = list(dict.fromkeys(name for name in (config.label, config.group) if name is not None))
    wanted = [*columns.values, *([columns.time] if columns.time else []), *said]
    held: deque[tuple[Block, Numbers]] = deque()
    done = 0
    try:
        _check_size(length or 0, columns)
        num_rows = 0
        for block in blocks(path, columns.names, list(dict.fromkeys(wanted)), run.offset, run.row):
            read = block.row + len(block.table)
            if read <= starts[done]:
                continue
            found = numbers(block.table, columns, block.row)
            held.append((block._replace(table=block.table.select(said)), found))  # the text of numbers is not kept
            num_rows += len(found.values)
            if length is None:
                _check_size(num_rows, columns)
            while done < len(starts) and length is not None and starts[done] + length <= read:
                yield _piece(held, starts[done], starts[done] + length, columns, config)
                done += 1
                while done < len(starts) and held and held[0][0].row + len(held[0][1].values) <= starts[done]:
                    held.popleft()
            if done == len(starts):
                return
        if length is None and held:
            yield _piece(held, 0, num_rows, columns, config)
            done = 1
        why = "has a header but no rows" if length is None else "the file became shorter"
    except (Bad, OSError) as error:
        why = reason(error)
    for start in starts[done:]:
        yield Piece(start, error=why)


def _check_size(rows: int, columns: Columns) -> None:
    if rows * len(columns.values) > MAX_VALUES:
        raise Bad(f"more than {MAX_BYTES >> 20} MB of values in one series; set source.window to cut it")


def _piece(held: deque[tuple[Block, Numbers]], start: int, stop: int, columns: Columns, config: Any) -> Piece:
    """Rows `start` to `stop` of the blocks that hold them."""
    values, times, tables = [], [], []
    bad: dict[int, str] = {}
    for block, found in held:
        here = slice(max(start - block.row, 0), max(stop - block.row, 0))
        values.append(found.values[here])
        tables.append(block.table[here])
        times += [] if found.time is None else [found.time[here]]
        bad |= {row: why for row, why in found.bad.items() if start <= row < stop}
    label, group = (_first(tables, name) for name in (config.label, config.group))
    if bad:
        return Piece(start, error=bad[min(bad)], label=label, group=group)
    try:
        value = SeriesValue(np.concatenate(values), np.concatenate(times) if columns.time else None)
        return Piece(start, CODEC.encode(value), label=label, group=group)
    except DecodeError as error:
        return Piece(start, error=str(error), label=label, group=group)


def _first(tables: list[pa.Table], name: str | None) -> str | None:
    """The first cell of a column that says something."""
    if name is None:
        return None
    cells = (cell for table in tables for cell in table[name].to_pylist())
    return next((printable(cell.strip()) for cell in cells if cell.strip().lower() not in MISSING), None)
