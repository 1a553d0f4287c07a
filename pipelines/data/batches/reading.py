"""Planned rows of the shards to augmented arrays: what one read task does, free of Ray.

Shapes: n rows of a piece.
"""

from collections.abc import Mapping, Sequence
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
from pipelines.storage.parquet import again
from ssl_core.augment.base import Augmentation, Ragged
from ssl_core.build import build_chain, build_codec
from ssl_core.codecs.base import Codec, DecodeError
from ssl_core.config import NamedConfig
from ssl_core.noise import view_salt

Arrays = dict[str, NDArray[Any]]

HELD_BYTES = 2 << 20
"""Decoded values held before they are augmented: few enough to stay near the cores, and to use the same memory anew."""
Sample = dict[str, Any]
"""Field -> decoded value."""


@dataclass(frozen=True)
class Views:
    """What to make of each sample: one array per chain, `view0`, `view1`, ..."""

    chains: tuple[NamedConfig, ...]
    codecs: Mapping[str, NamedConfig]
    """Field of a sample -> its codec, for each field that a chain reads."""
    seed: int
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

    Returns: `planned_id` and `sample_id` [n], and per chain `view0` [n, ...]; of a ragged view also `view0.length` [n].
    Raises:
        UserError: a shard that cannot be read, or rows that do not decode and that nobody may stand in for.
    """
    malloc.keep_freed()
    chains = [build_chain(config) for config in views.chains]
    salts = [view_salt(views.seed, piece.epoch, index) for index in range(len(chains))]
    with RowGroups(views.stage, views.slow_read_seconds) as files:
        reader = _Reader(files, piece, views, {name: build_codec(config) for name, config in views.codecs.items()})
        taken = reader.planned.copy()
        arrays: Arrays = {"sample_id": taken, "planned_id": reader.planned}
        reductions = reader.reductions(chains, salts)
        held: list[Sample] = []
        for number in range(len(taken)):
            sample, taken[number] = reader.sample(number, reductions)
            held.append(sample)
            if number + 1 < len(taken) and len(held) * max(map(_nbytes, sample.values())) < HELD_BYTES:
                continue
            part = slice(number + 1 - len(held), number + 1)
            for index, chain in enumerate(chains):
                # keyed by the planned sample: whoever takes its place gets another view than where it comes itself
                try:
                    made = chain([sample[chain.field] for sample in held], reader.planned[part], salts[index])
                except DecodeError as error:  # a sample that the codec takes and the chain does not
                    raise UserError(f"views: {views.chains[index].name}: {error}") from None
                columns = {"": made.x, ".length": made.length} if isinstance(made, Ragged) else {"": made}
                for suffix, rows in columns.items():
                    if (name := f"view{index}{suffix}") not in arrays:
                        arrays[name] = np.empty((len(taken), *rows.shape[1:]), rows.dtype)
                    arrays[name][part] = rows
            held = []
    return arrays


class _Reader:
    """The stored rows of one piece: bytes read once, decoded one by one."""

    def __init__(self, files: RowGroups, piece: Piece, views: Views, codecs: Mapping[str, Codec[Any]]):
        self._files, self._piece, self._views, self._codecs = files, piece, views, codecs
        self.planned = np.empty(len(piece.rows.row), np.int64)  # [n]
        """Sample ids of the rows."""
        self._stored = {field: [b""] * len(self.planned) for field in codecs}
        for number, group in enumerate(piece.groups):
            mine = np.flatnonzero(piece.rows.group == number)
            rows, table = piece.rows.row[mine], files.read(group, ["sample_id", *codecs])
            self.planned[mine] = table["sample_id"].to_numpy()[rows]
            for field, stored in self._stored.items():
                chosen = table[field].take(pa.array(rows))  # of all chunks together it would copy the row group
                for place, data in zip(mine.tolist(), chosen.to_pylist(), strict=True):
                    stored[place] = data

    def reductions(self, chains: Sequence[Augmentation], salts: Sequence[int]) -> dict[str, Ints]:
        """Per field, how far each value may shrink while it is decoded: as far as every view of it allows, [n]."""
        found = {}
        for field, codec in self._codecs.items():
            found[field] = np.ones(len(self.planned), np.int64)
            stored = self._stored[field]
            extents: dict[int, tuple[int, ...]] = {}
            for row in (row for row, data in enumerate(stored) if codec.reduces(data)):
                with suppress(DecodeError):  # decoding it will say so
                    extents[row] = codec.extent(stored[row])
            readers = [(chain, key) for chain, key in zip(chains, salts, strict=True) if chain.field == field]
            if not extents or not readers:
                continue
            shapes = np.ones((len(stored), len(next(iter(extents.values())))), np.int64)
            for row, extent in extents.items():
                shapes[row] = extent
            allowed = [chain.reduction(shapes, self.planned, key) for chain, key in readers]
            found[field] = np.min(allowed, axis=0)
        return found

    def sample(self, number: int, reductions: Mapping[str, Ints]) -> tuple[Sample, int]:
        """The decoded fields of row `number` and its sample id, or those of the row that stands in for it."""
        try:
            values = {
                field: codec.decode(self._stored[field][number], int(reductions[field][number]))
                for field, codec in self._codecs.items()
            }
        except DecodeError as error:
            return self._stand_in(number, str(error))
        return values, int(self.planned[number])

    def _stand_in(self, number: int, fault: str) -> tuple[Sample, int]:
        """For row `number`, which does not decode, the next one of its row group that does, on record.

        Which one that is depends on the shard alone, so every worker, restart and block size agrees on it.
        """
        piece = self._piece
        group, row = piece.groups[piece.rows.group[number]], int(piece.rows.row[number])
        table = self._files.read(group, ["sample_id", *self._codecs, "origin"])
        ids, stored = table["sample_id"].to_pylist(), {f: table[f].combine_chunks() for f in self._codecs}
        if self._views.stage is None:
            raise UserError(f"{group.path}: sample {ids[row]} does not decode: {fault}; {again(Path(group.path))}")
        for used in ((row + step) % len(ids) for step in range(1, len(ids))):
            try:
                # it comes whole: how far it may shrink was worked out for another sample
                values = {field: codec.decode(stored[field][used].as_py()) for field, codec in self._codecs.items()}
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
            quarantine.keep(self._views.stage, bad)
            return values, ids[used]
        raise UserError(
            f"{group.path}: no sample of row group {group.number} decodes ({fault}); {again(Path(group.path))}"
        )


def _nbytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    return int(getattr(value, "nbytes", 0)) or sum(int(getattr(part, "nbytes", 0)) for part in value)
