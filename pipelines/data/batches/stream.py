"""Shards to augmented batches, as a Ray Data set that follows a plan exactly.

One read task makes one block: it reads the planned rows, decodes and augments them, and returns
whole global-batch shares of one worker in order. Each worker streams its own plan, so which rows
it gets never depends on how Ray schedules (invariant 1), and a restart simply plans from a later batch.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pipelines.runtime  # noqa: F401  Ray reads its settings when it is imported

# isort: split
import numpy as np
from numpy.typing import NDArray
from ray.data import Dataset, read_datasource
from ray.data.block import Block, BlockAccessor, BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from pipelines.config import codecs
from pipelines.config.run import RunConfig, SetupConfig
from pipelines.data.batches.layout import GROUPS_AT_ONCE, Layout, sizes, windows
from pipelines.data.batches.order import Order
from pipelines.data.batches.reading import Arrays, Piece, Views, read_piece
from pipelines.data.shards.manifest import Manifest, check_fields, check_sizes
from pipelines.data.shards.writing import SPLITS
from pipelines.data.sources.base import Split
from pipelines.errors import UserError
from pipelines.runtime import session
from ssl_core.build import build_chain
from ssl_core.catalog import find
from ssl_core.config import NamedConfig

BLOCKS_AT_ONCE = 512
"""Read tasks planned per execution: starting one costs about half a second, one task a few kB."""
LEAD = 4
"""Blocks that are left of an execution when the next one starts: about what it takes to start."""


def training_order(config: RunConfig, manifest: Manifest) -> Order:
    """The order of the train split.

    Raises:
        UserError: fewer samples than one global batch.
    """
    batch = config.train.global_batch_size
    order = Order(sizes(manifest, "train"), manifest.digest, config.seed, config.data.shuffle_rows, batch)
    if order.batches_per_epoch == 0:
        raise UserError(
            f"train.global_batch_size: {batch} is more than the {order.num_rows} samples "
            "to train on; lower it or bring more data"
        )
    return order


def training_batches(
    config: RunConfig,
    folder: Path,
    manifest: Manifest,
    rank: int,
    size: int,
    start: int,
    stop: int,
    stage: Path,
) -> Iterator[Arrays]:
    """One worker's share of the global batches start..stop, counted over epochs, already augmented.

    Args:
        stage: folder that keeps rows which do not decode.
    Yields: `view0`, `view1`, ... [B, ...], one per view kind, and `view0.length` [B] of a ragged one; `planned_id` [B]
    int64, the samples of the order, and `sample_id` [B], the same but where a sample did not decode: there it is the
    one in its place.
    """
    views = _training_views(config, folder, manifest, stage)
    order = training_order(config, manifest)
    share = config.train.global_batch_size // size
    layout = Layout(folder, manifest, "train")
    spans = order.spans(start, stop, _batches_per_block(config, views, share))

    def execution() -> tuple[int, Iterator[Arrays]]:
        """The next blocks, started: how many batches come before the last `LEAD` blocks, and all batches."""
        some = list(islice(spans, BLOCKS_AT_ONCE))
        if not some:
            return 0, iter(())
        pieces = [layout.piece(order.share(span, rank, size), span.epoch) for span in some]
        arrays = iter(_stream(pieces, views).iter_batches(batch_size=share, batch_format="numpy", prefetch_batches=2))
        return sum(span.stop - span.start for span in some[:-LEAD]), chain([next(arrays)], arrays)

    yield from _back_to_back(execution)


def training_pieces(config: RunConfig, folder: Path, manifest: Manifest, size: int) -> tuple[Iterator[Piece], Views]:
    """The blocks that the first of `size` workers would stream, and what is made of their rows; nothing is read yet."""
    views, order = _training_views(config, folder, manifest, None), training_order(config, manifest)
    batches = _batches_per_block(config, views, config.train.global_batch_size // size)
    layout, steps = Layout(folder, manifest, "train"), config.train.num_steps(order.batches_per_epoch)
    return (layout.piece(order.share(span, 0, size), span.epoch) for span in order.spans(0, steps, batches)), views


def both_splits(config: SetupConfig, folder: Path, manifest: Manifest, limit: int) -> tuple[Dataset, int]:
    """The eval views of train, then test, in the order of the shards; and how many of them are train.

    About `limit` rows of each split, spread evenly over it.
    """
    _set_up(config)
    views = _views(config, folder, manifest, [config.views["eval"]])
    train, test = (list(Layout(folder, manifest, split).in_order(limit)) for split in SPLITS)
    return _stream([*train, *test], views), sum(len(piece.rows.row) for piece in train)


def whole_splits(config: SetupConfig, folder: Path, manifest: Manifest) -> Iterator[tuple[Dataset, int]]:
    """The same of every row, in one data set after the other, each of a bounded number of blocks."""
    _set_up(config)
    views = _views(config, folder, manifest, [config.views["eval"]])
    for window in windows(folder, manifest, BLOCKS_AT_ONCE):
        yield _stream(window.pieces, views), window.num_train


def one_split(
    config: SetupConfig,
    folder: Path,
    manifest: Manifest,
    split: Split,
    limit: int,
    chains: Sequence[NamedConfig],
) -> Dataset:
    """Several views of a split, `view0`, `view1`, ..., in the order of the shards; the limit as in `both_splits`."""
    _set_up(config)
    views = _views(config, folder, manifest, chains)
    pieces = Layout(folder, manifest, split).in_order(limit, max(1, GROUPS_AT_ONCE // len(chains)))
    return _stream(list(pieces), views)


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
    views = _views(config, folder, manifest, [config.views[kind] for kind in kinds])
    for piece in Layout(folder, manifest, split).in_order(count):
        yield read_piece(piece, views)


def rows_at(config: SetupConfig, folder: Path, manifest: Manifest, split: Split, index: NDArray[np.int64]) -> Arrays:
    """The eval views of given rows, counted in the order of the shards; read in this process, for small counts."""
    layout = Layout(folder, manifest, split)
    return read_piece(layout.piece(layout.rows_at(index), 0), _views(config, folder, manifest, [config.views["eval"]]))


def _back_to_back(execution: Callable[[], tuple[int, Iterator[Arrays]]]) -> Iterator[Arrays]:
    """One execution after the other without a pause: each starts while the last blocks of the one before are used."""
    with ThreadPoolExecutor(max_workers=1) as starter:
        upcoming = starter.submit(execution)
        while True:
            before, batches = upcoming.result()
            number = -1
            for number, batch in enumerate(batches):
                if number == before:
                    upcoming = starter.submit(execution)
                yield batch
            if number < 0:
                return


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
    # One block asked for: with more than there are tasks Ray would split blocks.
    data = read_datasource(PlannedSource(pieces, views), override_num_blocks=1)
    data.context.execution_options.preserve_order = True  # whatever this process has set: all who read count on it
    return data


def _read_block(piece: Piece, views: Views) -> Iterator[Block]:
    yield BlockAccessor.batch_to_block(read_piece(piece, views))


def _set_up(config: SetupConfig) -> None:
    """CPUs of the readers and of who takes their blocks, for data sets made from now on."""
    session.data_context(cpus=1 + config.data.cpus)


def training_chains(config: RunConfig) -> list[NamedConfig]:
    """One chain per view that the method reads, in order."""
    kinds: tuple[str, ...] = find("ssl_core.methods", config.method.name).kinds(config.method)
    return [config.views[kind] for kind in kinds]


def _training_views(config: RunConfig, folder: Path, manifest: Manifest, stage: Path | None) -> Views:
    return _views(config, folder, manifest, training_chains(config), stage)


def _batches_per_block(config: RunConfig, views: Views, share: int) -> int:
    sample_bytes = sum(build_chain(view).spec.nbytes for view in views.chains)
    return max(1, (config.data.block_mb << 20) // (sample_bytes * share))


def _views(
    config: SetupConfig, folder: Path, manifest: Manifest, chains: Sequence[NamedConfig], stage: Path | None = None
) -> Views:
    """
    Raises:
        UserError: the shards hold other fields than these chains read, or smaller images.
    """
    read = codecs.of_chains(config, chains)
    check_fields(folder, manifest, read)
    check_sizes(folder, manifest, map(build_chain, chains))
    return Views(tuple(chains), read, config.seed, config.data.slow_read_seconds, stage)
