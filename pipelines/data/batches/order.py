"""The sample order as a pure function of (manifest digest, seed, epoch); free of Ray.

An epoch permutes all row groups, cuts that sequence into windows of about `shuffle_rows` rows,
shuffles the rows inside each window, and cuts the result into global batches. Reading a batch
touches the row groups of one or two windows, so memory stays bounded whatever the data set's size.

How good a shuffle that is: two samples of one row group meet in a batch N / shuffle_rows times as
often as under a full shuffle of N rows; with shuffle_rows >= N it is a full shuffle. Row groups are
recombined anew in each epoch, so no pair of row groups shares a window for long.

The last rows of an epoch that do not fill a global batch are dropped; another epoch's order drops others.

Shapes: R row groups, n rows asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_core.noise import keyed_permutation, salt

Ints = NDArray[np.int64]


class Rows(NamedTuple):
    """Where samples lie: each a row of a row group."""

    group: Ints  # [n] index over all row groups of the split, in manifest order
    row: Ints  # [n] row inside that group


class Span(NamedTuple):
    """Consecutive global batches of one epoch."""

    epoch: int
    start: int  # first batch, counted within the epoch
    stop: int


class _Epoch(NamedTuple):
    groups: Ints  # [R] row groups in this epoch's order
    begins: Ints  # [R + 1] row at which each of them begins
    windows: Ints  # [W + 1] positions in `groups` at which windows begin


@dataclass(frozen=True, eq=False)
class Order:
    sizes: Ints
    """[R] rows in each row group, in manifest order."""
    digest: str
    """The manifest's."""
    seed: int
    shuffle_rows: int
    global_batch_size: int

    @property
    def identity(self) -> dict[str, str | int]:
        """Everything that the order depends on, under the names of the config; checkpoints carry it."""
        return {
            "shards": self.digest,
            "seed": self.seed,
            "data.shuffle_rows": self.shuffle_rows,
            "train.global_batch_size": self.global_batch_size,
        }

    @property
    def num_rows(self) -> int:
        return int(self.sizes.sum())

    @property
    def batches_per_epoch(self) -> int:
        return self.num_rows // self.global_batch_size

    def rows(self, epoch: int, start: int, stop: int) -> Rows:
        """Rows number start..stop of an epoch; reads no more than the windows they lie in."""
        plan = self._epoch(epoch)
        window_begins = plan.begins[plan.windows]  # [W + 1] row at which each window begins
        first, last = np.searchsorted(window_begins, [start, stop - 1], side="right") - 1
        parts = [self._window(epoch, plan, window) for window in range(int(first), int(last) + 1)]
        offset = int(window_begins[first])
        group = np.concatenate([part.group for part in parts])[start - offset : stop - offset]
        row = np.concatenate([part.row for part in parts])[start - offset : stop - offset]
        return Rows(group, row)

    def spans(self, start: int, stop: int, batches: int) -> Iterator[Span]:
        """Cut global batches start..stop, counted from the start of training, into spans of at most `batches`."""
        while start < stop:
            epoch, first = divmod(start, self.batches_per_epoch)
            count = min(batches, stop - start, self.batches_per_epoch - first)
            yield Span(epoch, first, first + count)
            start += count

    def share(self, span: Span, rank: int, size: int) -> Rows:
        """One worker's rows of a span: rank's slice of every global batch, batch after batch."""
        g = self.global_batch_size
        rows = self.rows(span.epoch, span.start * g, span.stop * g)
        group, row = (x.reshape(-1, size, g // size)[:, rank].reshape(-1) for x in rows)  # [batches, W, B] -> [n]
        return Rows(group, row)

    def _window(self, epoch: int, plan: _Epoch, window: int) -> Rows:
        groups = plan.groups[plan.windows[window] : plan.windows[window + 1]]
        sizes = self.sizes[groups]
        shuffle = keyed_permutation(int(sizes.sum()), salt(self._key, self.seed, epoch, 1 + window))
        group = np.repeat(groups, sizes)
        row = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return Rows(group[shuffle], row[shuffle])

    def _epoch(self, epoch: int) -> _Epoch:
        return _plan(self, epoch)

    @property
    def _key(self) -> int:
        return int(self.digest[:15], 16)


@lru_cache(maxsize=2)  # 24 bytes per row group each
def _plan(order: Order, epoch: int) -> _Epoch:
    groups = keyed_permutation(len(order.sizes), salt(order._key, order.seed, epoch))
    begins = np.concatenate([[0], np.cumsum(order.sizes[groups])])
    in_window = begins[:-1] // order.shuffle_rows  # window that each group falls in by its first row
    windows = np.concatenate([[0], np.flatnonzero(np.diff(in_window)) + 1, [len(groups)]])
    return _Epoch(groups, begins, windows)
