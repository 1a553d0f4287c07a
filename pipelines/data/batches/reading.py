"""Planned rows of the shards to augmented arrays: what one read task does, free of Ray.

Shapes: n rows of a piece.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.batches import malloc, quarantine
from pipelines.data.batches.order import Ints, Rows
from pipelines.data.batches.quarantine import Quarantined
from pipelines.data.batches.row_groups import Group, RowGroups
from pipelines.errors import UserError
from ssl_core.augment.base import Augmentation
from ssl_core.build import build_chain
from ssl_core.codecs._image.container import JPEG_START
from ssl_core.codecs._image.decode import DecodeError, decode, image_shape
from ssl_core.codecs._image.resize import Image
from ssl_core.config import NamedConfig
from ssl_core.noise import view_salt

Arrays = dict[str, NDArray[Any]]

HELD_BYTES = 2 << 20
"""Decoded pixels held before they are augmented: few enough to stay near the cores, and to use the same memory anew."""


@dataclass(frozen=True)
class Views:
    """What to make of each sample: one array per chain, `view0`, `view1`, ..."""

    chains: tuple[NamedConfig, ...]
    seed: int
    max_pixels: int
    slow_read_seconds: float
    stage: Path | None = None
    """Folder that keeps rows which do not decode; None: such a row is an error."""


@dataclass(frozen=True)
class Piece:
    """The rows of one block."""

    groups: tuple[Group, ...]
    """Only those that the rows lie in."""
    rows: Rows
    """[n] with `group` counted in `groups`."""
    epoch: int


def read_piece(piece: Piece, views: Views) -> Arrays:
    """Read, decode and augment the rows of one piece.

    Raises:
        UserError: a shard that cannot be read, or rows that do not decode and that nobody may stand in for.
    """
    malloc.keep_freed()
    chains = [build_chain(config) for config in views.chains]
    salts = [view_salt(views.seed, piece.epoch, index) for index in range(len(chains))]
    with RowGroups(views.stage, views.slow_read_seconds) as files:
        planned, encoded = _encoded(piece, files)
        taken = planned.copy()
        arrays: Arrays = {"sample_id": taken, "planned_id": planned}
        reductions = _reductions(encoded, planned, chains, salts, views)
        held: list[Image] = []
        for number, (data, reduction) in enumerate(zip(encoded, reductions.tolist(), strict=True)):
            try:
                image = decode(data, max_pixels=views.max_pixels, reduction=reduction)
            except DecodeError as error:
                image, taken[number] = _stand_in(files, piece, number, views, str(error))
            held.append(image)
            if number + 1 < len(encoded) and len(held) * image.nbytes < HELD_BYTES:
                continue
            part = slice(number + 1 - len(held), number + 1)
            for index, chain in enumerate(chains):
                # keyed by the planned sample: whoever takes its place gets another view than where it comes itself
                view = chain(held, planned[part], salts[index])
                stacked = arrays.setdefault(f"view{index}", np.empty((len(planned), *view.shape[1:]), view.dtype))
                stacked[part] = view
            held = []
    return arrays


def _encoded(piece: Piece, files: RowGroups) -> tuple[Ints, list[bytes]]:
    """Sample ids [n] and stored images of a piece, row group by row group."""
    ids = np.empty(len(piece.rows.row), np.int64)  # [n]
    images = [b""] * len(ids)
    for number, group in enumerate(piece.groups):
        mine = np.flatnonzero(piece.rows.group == number)
        rows, table = piece.rows.row[mine], files.read(group)
        ids[mine] = table["sample_id"].to_numpy()[rows]
        chosen = table["image"].take(pa.array(rows))  # of all chunks together it would be a copy of the row group
        for place, image in zip(mine.tolist(), chosen.to_pylist(), strict=True):
            images[place] = image
    return ids, images


def _reductions(
    encoded: Sequence[bytes], ids: Ints, chains: Sequence[Augmentation], salts: Sequence[int], views: Views
) -> Ints:
    """How far each image may shrink while it is decoded: as far as every view of it allows, [n]."""
    jpegs = [row for row, data in enumerate(encoded) if data.startswith(JPEG_START)]  # everything else comes whole
    if not jpegs or not chains:
        return np.ones(len(encoded), np.int64)
    shapes = np.ones((len(encoded), 2), np.int64)
    for row in jpegs:
        with suppress(DecodeError):  # decoding it will say so
            shapes[row] = image_shape(encoded[row], max_pixels=views.max_pixels)
    allowed = [chain.reduction(shapes, ids, key) for chain, key in zip(chains, salts, strict=True)]
    return np.min(allowed, axis=0)


def _stand_in(files: RowGroups, piece: Piece, number: int, views: Views, fault: str) -> tuple[Image, int]:
    """For row `number`, which does not decode, the next one of its row group that does: image and sample id; on record.

    Which one that is depends on the shard alone, so every worker, restart and block size agrees on it.
    """
    group, row = piece.groups[piece.rows.group[number]], int(piece.rows.row[number])
    table = files.read(group, ["sample_id", "image", "origin"])
    ids, encoded = table["sample_id"].to_pylist(), table["image"].combine_chunks()
    if views.stage is None:
        raise UserError(f"{group.path}: sample {ids[row]} does not decode: {fault}; ingest again")
    for used in ((row + step) % len(ids) for step in range(1, len(ids))):
        try:
            # it comes whole: how far it may shrink was worked out for another image
            image = decode(encoded[used].as_py(), max_pixels=views.max_pixels)
        except DecodeError:
            continue
        bad = Quarantined(
            sample_id=ids[row],
            file=group.path,
            row_group=group.number,
            row=row,
            origin=table["origin"][row].as_py(),
            reason=fault,
            replaced_by=ids[used],
        )
        quarantine.keep(views.stage, bad)
        return image, ids[used]
    raise UserError(f"{group.path}: no sample of row group {group.number} decodes ({fault}); ingest again")
