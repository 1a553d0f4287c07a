"""Shards to augmented batches, as a Ray Data set that follows a plan exactly.

One read task makes one block: it reads the planned rows, decodes and augments them, and returns
whole global-batch shares of one worker in order. Each worker streams its own plan, so which rows
it gets never depends on how Ray schedules (invariant 1), and a restart simply plans from a later batch.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ray.data import Dataset, read_datasource
from ray.data.block import Block, BlockAccessor, BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from pipelines.config import RunConfig, SetupConfig
from pipelines.errors import UserError
from pipelines.manifest import Manifest
from pipelines.order import Order, Rows
from pipelines.reading import Arrays, Group, Piece, Views, read_piece
from ssl_core.build import build_chain
from ssl_core.config import NamedConfig

BLOCKS_AT_ONCE = 512
"""Read tasks planned per execution: one execution costs about half a second, one task a few kB."""

Split = Literal["train", "test"]


def training_order(config: RunConfig, manifest: Manifest) -> Order:
    """The order of the train split.

    Raises:
        UserError: fewer samples than one global batch.
    """
    sizes = np.array([rows for file in manifest.train for rows in file.row_groups], dtype=np.int64)
    order = Order(sizes, manifest.digest, config.seed, config.data.shuffle_rows, config.train.global_batch_size)
    if order.batches_per_epoch == 0:
        raise UserError(
            f"train.global_batch_size: {config.train.global_batch_size} is more than the {order.num_rows} samples "
            "to train on; lower it or bring more data"
        )
    return order


def training_batches(
    config: RunConfig, folder: Path, manifest: Manifest, rank: int, size: int, start: int, stop: int, stage: Path
) -> Iterator[Arrays]:
    """One worker's share of the global batches start..stop, counted over epochs, already augmented.

    Yields: `view0`, `view1`, ... [B, size, size, 3] uint8, one per view kind, `planned_id` [B] int64, the samples of
    the order, and `sample_id` [B], the same but where a sample did not decode: there it is the one in its place.
    """
    from ssl_core.catalog import find

    kinds = find("ssl_core.methods", config.method.name).view_kinds
    views = _views(config, kinds, stage)
    order = training_order(config, manifest)
    share = config.train.global_batch_size // size
    sample_bytes = sum(int(np.prod(build_chain(chain).view_shape)) for chain in views.chains)
    batches = max(1, (config.data.block_mb << 20) // (sample_bytes * share))
    spans = list(order.spans(start, stop, batches))
    groups = _groups(folder, manifest, "train")
    for first in range(0, len(spans), BLOCKS_AT_ONCE):
        pieces = [_piece(groups, order.share(s, rank, size), s.epoch) for s in spans[first : first + BLOCKS_AT_ONCE]]
        yield from _stream(pieces, views).iter_batches(batch_size=share, batch_format="numpy", prefetch_batches=2)


def both_splits(config: SetupConfig, folder: Path, manifest: Manifest, limit: int | None) -> tuple[Dataset, int]:
    """The eval views of train, then test, in the order of the shards; and how many of them are train.

    With a limit, about that many rows of each split, spread evenly over it.
    """
    views = _views(config, ("eval",))
    splits: tuple[Split, Split] = ("train", "test")
    train, test = (_in_order(_groups(folder, manifest, s), _sizes(manifest, s), limit) for s in splits)
    return _stream([*train, *test], views), sum(len(piece.rows.row) for piece in train)


def one_split(
    config: SetupConfig,
    folder: Path,
    manifest: Manifest,
    split: Split,
    limit: int | None,
    chains: Sequence[NamedConfig],
) -> Dataset:
    """Several views of a split, `view0`, `view1`, ..., in the order of the shards; the limit as in `both_splits`."""
    views = Views(tuple(chains), config.seed, config.ingest.max_pixels, config.data.slow_read_seconds)
    pieces = _in_order(_groups(folder, manifest, split), _sizes(manifest, split), limit, max(1, 8 // len(chains)))
    return _stream(pieces, views)


def some_rows(
    config: SetupConfig, folder: Path, manifest: Manifest, split: Split, count: int, kinds: Sequence[str]
) -> Arrays:
    """About `count` samples spread over a split, in several views; read in this process, for small counts."""
    parts = list(parts_of(config, folder, manifest, split, count, kinds))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def parts_of(
    config: SetupConfig, folder: Path, manifest: Manifest, split: Split, count: int, kinds: Sequence[str]
) -> Iterator[Arrays]:
    """What `some_rows` gives, a few row groups at a time."""
    views = _views(config, kinds)
    for piece in _in_order(_groups(folder, manifest, split), _sizes(manifest, split), count):
        yield read_piece(piece, views)


def rows_at(config: SetupConfig, folder: Path, manifest: Manifest, split: Split, index: NDArray[np.int64]) -> Arrays:
    """The eval views of given rows, counted in the order of the shards; read in this process, for small counts."""
    sizes = np.array(_sizes(manifest, split), np.int64)
    ends = sizes.cumsum()
    group = ends.searchsorted(index, side="right")  # [n]
    rows = Rows(group, index - (ends - sizes)[group])
    return read_piece(_piece(_groups(folder, manifest, split), rows, 0), _views(config, ("eval",)))


class PlannedSource(Datasource):  # type: ignore[misc]
    """A Ray Data source with exactly one read task per piece, in order."""

    def __init__(self, pieces: Sequence[Piece], views: Views):
        super().__init__()
        self._pieces, self._views = pieces, views

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None) -> Any:
        return [
            ReadTask(partial(_read_block, piece, self._views), BlockMetadata(len(piece.rows.row), None, None, None))
            for piece in self._pieces
        ]


def _stream(pieces: Sequence[Piece], views: Views) -> Dataset:
    # One block asked for: with more than there are tasks Ray would split blocks (ray.md, section 1.5).
    return read_datasource(PlannedSource(pieces, views), override_num_blocks=1)


def _read_block(piece: Piece, views: Views) -> Iterator[Block]:
    yield BlockAccessor.batch_to_block(read_piece(piece, views))


def _views(config: SetupConfig, kinds: Sequence[str], stage: Path | None = None) -> Views:
    chains = tuple(config.views[kind] for kind in kinds)
    return Views(chains, config.seed, config.ingest.max_pixels, config.data.slow_read_seconds, stage)


def _piece(groups: Sequence[Group], rows: Rows, epoch: int) -> Piece:
    used, inverse = np.unique(rows.group, return_inverse=True)
    return Piece(tuple(groups[int(g)] for g in used), Rows(inverse, rows.row), epoch)


def _in_order(groups: Sequence[Group], sizes: Sequence[int], limit: int | None, at_once: int = 8) -> list[Piece]:
    """A split front to back, `at_once` row groups a piece; with a limit every k-th row."""
    step = max(1, -(-sum(sizes) // limit)) if limit else 1
    pieces, first = [], 0
    while first < len(groups):
        last = min(len(groups), first + at_once)
        group = np.repeat(np.arange(first, last), sizes[first:last])
        row = np.concatenate([np.arange(n) for n in sizes[first:last]])
        pieces.append(_piece(groups, Rows(group[::step], row[::step]), 0))
        first = last
    return pieces


def _groups(folder: Path, manifest: Manifest, split: Split) -> list[Group]:
    return [Group(str(folder / file.path), i) for file in manifest.files(split) for i in range(len(file.row_groups))]


def _sizes(manifest: Manifest, split: Split) -> list[int]:
    return [rows for file in manifest.files(split) for rows in file.row_groups]
