"""Planned rows of the shards to augmented arrays: what one read task does, free of Ray.

Shapes: n rows of a piece.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import footer, outbox, quarantine
from pipelines.errors import UserError
from pipelines.order import Ints, Rows
from pipelines.quarantine import Quarantined
<<<<<<< HEAD
from ssl_core.augment._container import JPEG_START
=======
from pipelines.tables import SAMPLES
>>>>>>> secure
from ssl_core.augment._decode import DecodeError, decode, image_shape
from ssl_core.augment.base import Augmentation, Image
from ssl_core.build import build_chain
from ssl_core.config import NamedConfig
from ssl_core.noise import salt

Arrays = dict[str, NDArray[Any]]


class Group(NamedTuple):
    """A row group as a task finds it."""

    path: str
    number: int


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
    planned = np.empty(len(piece.rows.row), np.int64)  # [n]
    taken = planned.copy()
    images: list[Image | None] = [None] * len(planned)
    chains = [build_chain(config) for config in views.chains]
    salts = [salt(views.seed, piece.epoch, index) for index in range(len(chains))]
    for number, group in enumerate(piece.groups):
        mine = np.flatnonzero(piece.rows.group == number)
        rows = piece.rows.row[mine]
        table = _read_group(group, views)
        ids, encoded = table["sample_id"].to_numpy(), table["image"].combine_chunks()
        planned[mine] = ids[rows]
        reductions = _reductions([encoded[row].as_py() for row in rows.tolist()], ids[rows], chains, salts, views)
        for position, row, reduction in zip(mine.tolist(), rows.tolist(), reductions.tolist(), strict=True):
            images[position], used = _pixels(group, views, ids, encoded, row, reduction)
            taken[position] = ids[used]
    whole = [image for image in images if image is not None]
    arrays: Arrays = {"sample_id": taken, "planned_id": planned}
    for index, chain in enumerate(chains):
        # keyed by the planned sample: whoever takes its place gets another view than where it comes itself
        arrays[f"view{index}"] = chain(whole, planned, salts[index])
    return arrays


def _reductions(
    encoded: Sequence[bytes], ids: Ints, chains: Sequence[Augmentation], salts: Sequence[int], views: Views
) -> Ints:
    """How far each image may shrink while it is decoded: as far as every view of it allows, [n]."""
    shapes = np.ones((len(encoded), 2), np.int64)
    for row, data in enumerate(encoded):
        if data.startswith(JPEG_START):  # everything else comes whole
            with suppress(DecodeError):  # decoding it will say so
                shapes[row] = image_shape(data, max_pixels=views.max_pixels)
    allowed = [chain.reduction(shapes, ids, key) for chain, key in zip(chains, salts, strict=True)]
    return np.min(allowed, axis=0) if allowed else np.ones(len(shapes), np.int64)


def _pixels(
    group: Group, views: Views, ids: Ints, encoded: pa.BinaryArray, row: int, reduction: int
) -> tuple[Image, int]:
    """The image of a row and the row itself; if it does not decode, the next one of its row group that does.

    Which one that is depends on the shard alone, so every worker, restart and block size agrees on it.
    """
    fault = ""
    for step in range(len(ids)):
        used = (row + step) % len(ids)
        try:
            # who stands in comes whole: how far it may shrink was worked out for another image
            image = decode(
                encoded[used].as_py(), max_pixels=views.max_pixels, reduction=1 if used != row else reduction
            )
        except DecodeError as error:
            fault = fault or str(error)
            if views.stage is None:
                raise UserError(f"{group.path}: sample {ids[row]} does not decode: {fault}; ingest again") from None
            continue
        if used != row:
            _quarantine(group, views, ids, row, used, fault)
        return image, used
    raise UserError(f"{group.path}: no sample of row group {group.number} decodes ({fault}); ingest again")


def _quarantine(group: Group, views: Views, ids: Ints, row: int, used: int, reason: str) -> None:
    if views.stage is None:
        return
    origin = _read_group(group, views, ["origin"])["origin"][row].as_py()
    bad, other = int(ids[row]), int(ids[used])
    quarantine.keep(
        views.stage,
        Quarantined(
            sample_id=bad,
            file=group.path,
            row_group=group.number,
            row=row,
            origin=origin,
            reason=reason,
            replaced_by=other,
        ),
    )


def _read_group(group: Group, views: Views, columns: Sequence[str] = ("sample_id", "image")) -> pa.Table:
    """One row group; pre-training sees these two columns and no others."""
    path = Path(group.path)
    try:
        with _watched(group, views), footer.opened(path, memory_map=True) as file:
            footer.must_be(file, SAMPLES, path)
            return file.read_row_group(group.number, columns=list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{group.path}: row group {group.number} cannot be read: {said}; ingest again") from None


@contextmanager
def _watched(group: Group, views: Views) -> Iterator[None]:
    """Say which file it is when a read takes very long: the trainer only sees that no batch comes."""
    seconds = views.slow_read_seconds
    text = f"slow storage: reading {group.path} (row group {group.number}) has taken {seconds:g} s and is not done"
    timer = Timer(seconds, outbox.note, (views.stage, text)) if views.stage else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()
