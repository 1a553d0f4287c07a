"""metrics.jsonl: what a stage logs, on disk first; pipelines/tracking/runs.py ships it from there.

Two kinds of line:

    {"t": 1700000000000, "step": 40, "total": 800, "m": {"loss": 1.25}}    a point
    {"commit": 40}                                                         all above is final

Only committed points are shipped. A worker that dies and goes on from a checkpoint logs some steps a
second time; `rewind` drops the first, uncommitted copies. Times are fixed when a point is logged, so
shipping the same line twice changes nothing.

One process writes at a time, any process may read; pipelines/storage/journal.py says why a kill does no harm.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipelines.storage import journal

NAME = "metrics.jsonl"
NOTES = "notes.log"
_NAME = re.compile(r"[\w./:-]+", re.ASCII)


class Point(NamedTuple):
    """The metrics of one step."""

    time: int
    """Milliseconds since 1970, fixed when the point was logged."""
    step: int
    total: int
    """Steps planned."""
    metrics: dict[str, float]
    """May hold NaN and infinities."""


def append(folder: Path, *, step: int, total: int, metrics: Mapping[str, float], final: bool = False) -> None:
    """Log one point.

    Args:
        folder: The stage's folder.
        step: Must not fall, per metric: a metric at a step it already has is taken for a repeat.
        total: Steps planned, for the progress display.
        metrics: Plain numbers; NaN and infinities are kept.
        final: Commit at once; for stages that have no checkpoints to go back to.

    Raises:
        ValueError: a metric name that MLflow would refuse.
    """
    if bad := [name for name in metrics if not _NAME.fullmatch(name)]:
        raise ValueError(f"metric names may hold letters, digits and _ . - / : only, not {', '.join(map(repr, bad))}")
    values = {name: float(value) for name, value in metrics.items()}
    lines: list[journal.Line] = [{"t": time.time_ns() // 1_000_000, "step": step, "total": total, "m": values}]
    _write(folder, [*lines, {"commit": step}] if final else lines)


def commit(folder: Path, step: int) -> None:
    """Everything logged so far is final; call it once the checkpoint of `step` is safe on disk."""
    _write(folder, [{"commit": step}], sync=True)


def rewind(folder: Path, step: int) -> None:
    """Go back to the checkpoint of `step` (0: none): drop the uncommitted points after it, keep and commit the rest."""
    path = folder / NAME
    if not path.exists():
        return
    with path.open("rb+") as file:
        journal.cut_torn_line(file)
        committed = keep = 0
        dropping = False
        for end, line in journal.lines(file, path):
            if "commit" in line:
                committed, dropping = end, False  # what is committed may be shipped, so it stays
            elif line["step"] > step:
                dropping = True
            if not dropping:
                keep = end
        file.truncate(keep)
    if keep > committed:
        commit(folder, step)


def finish(folder: Path) -> None:
    """Commit what is left, once the stage is complete."""
    points, _ = tail(folder, 0)
    if len(points) > len(committed(folder, 0)):
        commit(folder, points[-1].step)


def note(folder: Path, text: str) -> None:
    """Keep one line of prose, e.g. that a checkpoint was passed over; it goes to MLflow with the stage."""
    with (folder / NOTES).open("a") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")


def note_if_possible(folder: Path, text: str) -> None:
    """The same where the storage lets us: one that fails may refuse notes too."""
    with suppress(OSError):
        note(folder, text)


def tail(folder: Path, offset: int) -> tuple[list[Point], int]:
    """Points logged since `offset`, committed or not, and the next offset; what a progress display polls."""
    path = folder / NAME
    if not path.exists():
        return [], 0
    with path.open("rb") as file:
        _seek_line(file, offset)
        start = file.tell()
        read = [(end, line) for end, line in journal.lines(file, path)]
    return [_point(line) for _, line in read if "m" in line], read[-1][0] if read else start


def committed(folder: Path, offset: int) -> list[tuple[int, Point]]:
    """What may be shipped: points between `offset` and the last commit, each with the offset after it."""
    path = folder / NAME
    final: list[tuple[int, Point]] = []
    pending: list[tuple[int, Point]] = []
    if path.exists():
        with path.open("rb") as file:
            file.seek(offset)
            for end, line in journal.lines(file, path):
                if "commit" in line:
                    final, pending = final + pending, []
                else:
                    pending.append((end, _point(line)))
    return final


def read(folder: Path) -> Iterator[Point]:
    """Every point once, in the order logged, for plots and reports."""
    return unrepeated(tail(folder, 0)[0], {})


def unrepeated(points: Iterable[Point], last: dict[str, int]) -> Iterator[Point]:
    """Leave out metrics logged again for a step that they already have.

    That happens when a stage was interrupted after a commit and did the same work again: the first
    value may have been shipped, so it stands.

    Args:
        points: In the order logged.
        last: Metric name -> highest step so far; updated in place.
    """
    for point in points:
        fresh = {name: value for name, value in point.metrics.items() if point.step > last.get(name, -1)}
        last.update(dict.fromkeys(fresh, point.step))
        if fresh:
            yield point._replace(metrics=fresh)


def _write(folder: Path, lines: list[journal.Line], sync: bool = False) -> None:
    journal.append(folder / NAME, lines, sync)


def _seek_line(file: BinaryIO, offset: int) -> None:
    """To `offset`, or to the next line start where a rewind has moved the lines under it."""
    size = file.seek(0, os.SEEK_END)
    if 0 < offset <= size:
        file.seek(offset - 1)
        file.readline()
    else:
        file.seek(min(offset, size))


def _point(line: journal.Line) -> Point:
    return Point(line["t"], line["step"], line["total"], line["m"])
