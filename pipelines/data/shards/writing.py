"""One part of a source to one shard per split, free of Ray: read, clean, write aside, rename.

Everything a part leaves behind is named by its number, and its record in `parts/` appears last: a
part with a record is finished, one without is simply written again.
"""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data import parts
from pipelines.data.parts import Job, PartRecord
from pipelines.data.shards.manifest import ShardFile
from pipelines.data.shards.schema import CONTENT, LABELS, QUARANTINE, samples
from pipelines.data.shards.targets import TargetTable
from pipelines.data.sources.base import Raw, Source, Split
from pipelines.errors import UserError
from pipelines.storage import parquet
from pipelines.storage.atomic import write_aside
from pipelines.storage.checksum import sha256_of
from ssl_core.build import build_codec
from ssl_core.codecs._image.decode import largest_of_16_bits
from ssl_core.codecs.base import Codec, DecodeError
from ssl_core.config import NamedConfig
from ssl_core.noise import keyed_uniform, salt

SPLITS: tuple[Split, Split] = ("train", "test")
MAX_GROUP_ROWS = 256
PARTS = "parts"  # beside the shards: records, quarantine and content of each part
_HELD_OUT = salt(0x7E57)
"""Fixed, so that the held-out samples do not change with the run's seed."""


@dataclass(frozen=True)
class Rules:
    """How samples are stored."""

    fields: Mapping[str, NamedConfig]
    """Field of a sample -> its codec; in these shards there is one."""
    test_fraction: float
    row_group_bytes: int


class ShardRecord(PartRecord):
    """parts/00000.json: what one part left behind."""

    num_samples: int
    num_bad: int
    num_other: int = 0
    num_16_bit: int = 0  # gray images, and their largest value: see _check_16_bit of data/ingest.py
    largest_16_bit: int = 0
    labels: tuple[str, ...]
    """The different label texts that it saw."""
    train: ShardFile | None
    test: ShardFile | None


def write(source: Source, job: Job, rules: Rules, folder: Path) -> ShardRecord:
    """Read, clean and store one part.

    Raises:
        OSError: `folder` cannot be written or is full.
    """
    bad: list[Raw] = []
    content: list[tuple[int, int, bool]] = []
    num_seen, num_other, largest = 0, 0, list[int]()
    ((field, config),) = rules.fields.items()
    codec = build_codec(config)
    targets = {split: TargetTable(folder, split, job.index, source.targets) for split in SPLITS}
    with ExitStack() as files:
        train, test = (
            _Shard(files, folder, split, job.index, rules.row_group_bytes, field, codec.compression) for split in SPLITS
        )
        for sample_id, raw in enumerate(source.read(job.part), start=job.first_id):
            num_seen += 1
            num_other += raw.other
            if raw.other:
                continue
            stored = cleaned(raw, codec)
            if isinstance(stored, Raw):
                bad.append(stored)
                continue
            if field == "image" and raw.data is not None and (value := largest_of_16_bits(raw.data)) is not None:
                largest.append(value)
            key = _content(stored)
            if job.part.split:
                held_out = job.part.split == "test"
            else:
                held_out = _is_held_out(_content(raw.group.encode()) if raw.group else key, rules.test_fraction)
            (test if held_out else train).add(sample_id, stored, raw)
            targets["test" if held_out else "train"].add(sample_id, raw.targets)
            content.append((sample_id, key, held_out))
        if num_seen != job.part.count:
            name, wanted = type(source).__name__, job.part.count
            raise RuntimeError(f"{name} gave {num_seen} samples for part {job.index}, which says {wanted}")
        train.finish()
        test.finish()
    faults = [[raw.file for raw in bad], [raw.row for raw in bad], [raw.error for raw in bad]]
    parquet.write(pa.table(faults, schema=QUARANTINE), quarantine_path(folder, job.index))
    columns = zip(*content, strict=True) if content else ([], [], [])
    parquet.write(pa.table([list(column) for column in columns], schema=CONTENT), content_path(folder, job.index))
    record = ShardRecord(
        key=job.key,
        index=job.index,
        num_samples=job.part.count,
        num_bad=len(bad),
        num_other=num_other,
        num_16_bit=len(largest),
        largest_16_bit=max(largest, default=0),
        labels=tuple(sorted(train.texts | test.texts)),
        train=targets["train"].written(train.recorded()),
        test=targets["test"].written(test.recorded()),
    )
    parts.write_record(folder / PARTS, record)
    return record


def task(row: dict[str, str], *, source: Source, rules: Rules, folder: Path) -> dict[str, str]:
    """`write` as a Ray Data row function; what the user must fix comes back as `problem`, not as a traceback."""
    try:
        return {"record": write(source, Job.loads(row["job"]), rules, folder).model_dump_json(), "problem": ""}
    except UserError as error:
        return {"record": "", "problem": str(error)}
    except OSError as error:
        return {"record": "", "problem": parts.cannot_write(error, folder)}


def recorded(job: Job, folder: Path) -> ShardRecord | None:
    """The record of an earlier, interrupted ingest, if this very part was finished and its files are whole."""
    record = parts.read_record(ShardRecord, folder / PARTS, job.index, job.key)
    if record is None:
        return None
    needed = [quarantine_path(folder, job.index), content_path(folder, job.index)]
    for file in (record.train, record.test):
        if file is not None:
            if not parts.is_whole(folder / file.path, file.num_bytes):
                return None
            needed += [folder / path for path in (file.labels_path, file.targets_path) if path]
    return record if all(path.exists() for path in needed) else None


def cleaned(raw: Raw, codec: Codec[Any]) -> bytes | Raw:
    """The bytes to store, or the sample with the reason why there are none."""
    if raw.data is None:
        return raw
    try:
        return codec.clean(raw.data)
    except DecodeError as error:
        return Raw(raw.file, raw.row, error=str(error))


def quarantine_path(folder: Path, index: int) -> Path:
    return folder / PARTS / f"{index:05d}-quarantine.parquet"


def content_path(folder: Path, index: int) -> Path:
    return folder / PARTS / f"{index:05d}-content.parquet"


def _is_held_out(key: int, fraction: float) -> bool:
    """By what a sample is, not by its place in the listing: in data that have grown it stays where it was."""
    return bool(keyed_uniform(np.array([key]), 1, _HELD_OUT)[0, 0] < fraction)


def _content(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big", signed=True)


class _Shard:
    """One split's share of a part, written row group by row group; without samples there is no file."""

    def __init__(
        self, files: ExitStack, folder: Path, split: Split, index: int, group_bytes: int, field: str, compression: str
    ):
        self._files, self._folder, self._most, self._schema = files, folder, group_bytes, samples(field)
        self._compression = {"sample_id": "zstd", field: compression, "origin": "zstd"}
        self._path, self._labels_path = f"{split}/part-{index:05d}.parquet", f"{split}/labels-{index:05d}.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._group: list[tuple[int, bytes, str]] = []
        self._group_bytes = 0
        self._groups: list[int] = []
        self._labels: list[tuple[int, str]] = []

    @property
    def texts(self) -> set[str]:
        return {text for _, text in self._labels}

    def add(self, sample_id: int, data: bytes, raw: Raw) -> None:
        too_large = self._group_bytes + len(data) > self._most
        if self._group and (too_large or len(self._group) == MAX_GROUP_ROWS):
            self._end_group()
        self._group.append((sample_id, data, raw.origin))
        self._group_bytes += len(data)
        if raw.label is not None:
            self._labels.append((sample_id, raw.label))

    def finish(self) -> None:
        if self._group:
            self._end_group()
        if self._writer is not None:
            self._writer.close()
        if self._labels:
            ids, texts = zip(*self._labels, strict=True)
            parquet.write(pa.table([ids, texts], schema=LABELS), self._folder / self._labels_path)

    def recorded(self) -> ShardFile | None:
        """What the manifest says about the finished files."""
        if not self._groups:
            return None
        path, labels_path = self._folder / self._path, self._folder / self._labels_path
        return ShardFile(
            path=self._path,
            row_groups=tuple(self._groups),
            num_bytes=path.stat().st_size,
            sha256=sha256_of(path),
            labels_path=self._labels_path if self._labels else None,
            labels_sha256=sha256_of(labels_path) if self._labels else None,
        )

    def _end_group(self) -> None:
        if self._writer is None:
            file = self._files.enter_context(write_aside(self._folder / self._path))
            self._writer = self._files.enter_context(
                pq.ParquetWriter(
                    file,
                    self._schema,
                    compression=self._compression,
                    use_dictionary=False,
                    write_statistics=False,
                    write_page_checksum=True,
                )
            )
        ids, stored, origins = zip(*self._group, strict=True)
        self._writer.write_table(pa.table([ids, stored, origins], schema=self._schema))
        self._groups.append(len(ids))
        self._group, self._group_bytes = [], 0
