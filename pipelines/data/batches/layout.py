"""Planned rows to pieces, one per read task, free of Ray; memory grows with the rows asked for, 16 bytes each.

Shapes: F files, R row groups, n rows of a piece.
"""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.data.batches.order import Ints, Rows
from pipelines.data.batches.reading import Piece
from pipelines.data.batches.row_groups import Group
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.writing import SPLITS
from pipelines.data.sources.base import Split

GROUPS_AT_ONCE = 8
"""Row groups per piece when a split is read front to back."""
MIN_ROWS = 256
"""Where only some rows are read, pieces reach over more row groups until they have about as many."""


class Layout:
    """Where the rows of a split lie: a few numbers per row group, a path per file."""

    def __init__(self, folder: Path, manifest: Manifest, split: Split):
        files = manifest.files(split)
        self._paths = [str(folder / file.path) for file in files]
        self._begins = np.cumsum([0, *(len(file.row_groups) for file in files)])  # [F + 1] first row group of each
        self.sizes = sizes(manifest, split)

    def piece(self, rows: Rows, epoch: int) -> Piece:
        """The piece of some rows, with no more row groups than they lie in."""
        used, inverse = np.unique(rows.group, return_inverse=True)
        files = np.searchsorted(self._begins, used, side="right") - 1
        numbers = used - self._begins[files]
        groups = (Group(self._paths[f], n) for f, n in zip(files.tolist(), numbers.tolist(), strict=True))
        return Piece(tuple(groups), Rows(inverse, rows.row), epoch)

    def rows_at(self, index: Ints) -> Rows:
        """Rows by their number in the order of the shards, [n]."""
        ends = np.cumsum(self.sizes)
        group = np.searchsorted(ends, index, side="right")
        return Rows(group, index - (ends - self.sizes)[group])

    def in_order(self, limit: int | None, at_once: int = GROUPS_AT_ONCE) -> Iterator[Piece]:
        """The split front to back, at most `at_once` full row groups a piece; which rows does not depend on that.

        Args:
            limit: read about that many rows, spread evenly over the split.
        """
        step = max(1, -(-int(self.sizes.sum()) // limit)) if limit else 1
        parts: list[Rows] = []
        for part in (part for run in self._every(step) for part in _cut(run, at_once)):
            parts.append(part)
            if sum(len(p.row) for p in parts) >= MIN_ROWS:
                yield self.piece(_joined(parts), 0)
                parts = []
        if parts:
            yield self.piece(_joined(parts), 0)

    def _every(self, step: int) -> Iterator[Rows]:
        """Every step-th row of consecutive runs of row groups, a run being long enough to have several."""
        run = GROUPS_AT_ONCE
        while len(self.sizes) > run and self.sizes[:run].sum() < 8 * step:
            run *= 2
        for first in range(0, len(self.sizes), run):
            ends = np.cumsum(self.sizes[first : first + run])
            chosen = np.arange(0, ends[-1], step)  # [n] row of the run
            group = np.searchsorted(ends, chosen, side="right")
            yield Rows(first + group, chosen - (ends - self.sizes[first : first + run])[group])


class Window(NamedTuple):
    """Some pieces of consecutive rows of train, then test."""

    pieces: list[Piece]
    num_train: int
    """How many of the rows, the first ones, are train's."""


def windows(folder: Path, manifest: Manifest, num_pieces: int) -> Iterator[Window]:
    """All of train, then all of test, at most `num_pieces` pieces at a time: nobody ever holds all of it."""
    each = ((split, piece) for split in SPLITS for piece in Layout(folder, manifest, split).in_order(None))
    while some := list(islice(each, num_pieces)):
        num_train = sum(len(piece.rows.row) for split, piece in some if split == "train")
        yield Window([piece for _, piece in some], num_train)


def sizes(manifest: Manifest, split: Split) -> Ints:
    """[R] rows in each row group of a split, in the manifest's order."""
    files = manifest.files(split)
    rows = chain.from_iterable(file.row_groups for file in files)
    return np.fromiter(rows, np.int64, sum(len(file.row_groups) for file in files))


def _cut(rows: Rows, at_once: int) -> Iterator[Rows]:
    """Rows in parts that lie in `at_once` consecutive row groups each."""
    edges = np.flatnonzero(np.diff(rows.group // at_once)) + 1
    for group, row in zip(np.split(rows.group, edges), np.split(rows.row, edges), strict=True):
        yield Rows(group, row)


def _joined(parts: list[Rows]) -> Rows:
    return Rows(np.concatenate([p.group for p in parts]), np.concatenate([p.row for p in parts]))
