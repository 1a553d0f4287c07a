"""One part of an input to embeddings, free of Ray: views, chunks written aside, merged into a file, then its record.

OUTPUT/part-00000.parquet   sample_id, path, embedding: the samples of one part of the listing, in order
OUTPUT/_quarantine.parquet  file, row, reason: what could not be read
OUTPUT/_embeddings.json     what was made from what; appears when everything else is complete
OUTPUT/_parts/              records that let an interrupted run go on

Shapes: n rows of a chunk, D encoder width.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.config.flat import fingerprint
from pipelines.data import parts
from pipelines.data.parts import Job, PartRecord
from pipelines.data.shards import writing
from pipelines.data.shards.schema import QUARANTINE
from pipelines.data.sources.base import Raw, Source
from pipelines.errors import UserError
from pipelines.model import embedding_folder
from pipelines.model.embedding_folder import NAME, PARTS, is_ours, part_name
from pipelines.storage import parquet
from pipelines.storage.atomic import ASIDE, write_aside
from pipelines.storage.checksum import sha256_of
from ssl_core.augment.base import Ragged
from ssl_core.build import build_chain, build_codec
from ssl_core.codecs.base import DecodeError
from ssl_core.config import Config, NamedConfig

READ_ROWS = 64
"""Samples decoded at a time."""
NO_ROW = -1

Arrays = dict[str, NDArray[Any]]


class Settings(Config):
    """_parts/inputs.json: what the embeddings depend on; a folder holds those of one model and one input."""

    model: str
    """As the registry names it, e.g. models:/digits-simclr/3, or a folder."""
    sha256: str
    """Of the weights."""
    view: dict[str, Any]
    """The chain that the samples go through."""
    embed_dim: int
    max_pixels: int | None
    codec: dict[str, Any] = {}
    """Empty: the codec of images."""
    source: dict[str, Any]
    fingerprint: str
    """Of the input: names, sizes and times."""

    def key(self, job: Job) -> str:
        known = self.model_dump(
            mode="json", exclude=set() if self.codec else {"codec"}
        )  # a key newer than some folders
        return fingerprint([known, job.dumps()])


class Chunk(Config):
    """What one batch of a part left behind."""

    index: int
    """Of the part."""
    first: int
    """Its first row in the part, good or bad."""
    num_rows: int
    """Embedded."""
    bad: tuple[tuple[str, int | None, str], ...]
    """(file, row in it, reason) of what could not be read."""


class EmbeddingRecord(PartRecord):
    """_parts/00000.json: one finished part."""

    path: str
    """Of its Parquet file; empty: nothing in it could be read."""
    num_rows: int
    num_bytes: int
    sha256: str
    bad: tuple[tuple[str, int | None, str], ...]


class Embeddings(Config):
    """_embeddings.json."""

    format: int = 1
    settings: Settings
    num_samples: int
    num_embedded: int
    num_quarantined: int
    files: tuple[dict[str, str | int], ...]
    """path, num_rows, num_bytes and sha256 of each."""
    digest: str
    """Hash of every file's sha256."""


def schema(embed_dim: int) -> pa.Schema:
    vector = pa.list_(pa.field("item", pa.float32(), nullable=False), embed_dim)
    return pa.schema([("sample_id", pa.int64()), ("path", pa.string()), ("embedding", vector)])


def views(source: Source, job: Job, view: NamedConfig, codec: NamedConfig) -> Iterator[Arrays]:
    """A part as the encoder's views, a few dozen samples at a time; one that cannot be read has a reason and zeros.

    Yields: `part`, `row` [n] int64, `file` [n], `file_row` [n] (-1: the file is the sample), `reason` [n] ("": good),
        `view` [n, ...] as the chain gives it.
    """
    read, rows = _ReadView(view, codec), enumerate(source.read(job.part))
    while batch := list(islice(rows, READ_ROWS)):
        made = [read(raw, job.first_id + row) for row, raw in batch]
        yield {
            "part": np.full(len(batch), job.index, np.int64),
            "row": np.array([row for row, _ in batch], np.int64),
            "file": np.array([raw.file for _, raw in batch], object),
            "file_row": np.array([NO_ROW if raw.row is None else raw.row for _, raw in batch], np.int64),
            "reason": np.array([reason for _, reason in made], object),
            "view": np.stack([read.blank if rows is None else rows for rows, _ in made]),
        }


class _ReadView:
    """Raw samples to views, as ingest and evaluation do, so that a sample has one embedding."""

    def __init__(self, view: NamedConfig, codec: NamedConfig):
        self._chain, self._codec = build_chain(view), build_codec(codec)
        drawn = self._codec.decode(self._codec.drawn(self._chain.spec)[0])
        self.blank = np.zeros_like(self._view(drawn, 0))
        """In place of the view of a sample that cannot be read."""

    def __call__(self, raw: Raw, sample_id: int) -> tuple[NDArray[Any] | None, str]:
        """Its view, or the reason why there is none."""
        stored = writing.cleaned(raw, self._codec)
        if isinstance(stored, Raw):
            return None, str(stored.error)
        reduction = 1
        if self._codec.reduces(stored):
            extents, ids = np.array([self._codec.extent(stored)]), np.array([sample_id])
            reduction = int(self._chain.reduction(extents, ids, 0)[0])
        try:
            return self._view(self._codec.decode(stored, reduction), sample_id), ""
        except DecodeError as error:  # the chain cannot take it
            return None, str(error)

    def _view(self, value: Any, sample_id: int) -> NDArray[Any]:
        made = self._chain([value], np.array([sample_id]), 0)
        return made.x[0] if isinstance(made, Ragged) else made[0]


def some_views(source: Source, view: NamedConfig, codec: NamedConfig, limit: int) -> NDArray[Any]:
    """The views of the first samples of a source that can be read, at most `limit`: [n, ...], n >= 1.

    Raises:
        UserError: nothing to read, or none of it can be.
    """
    found, bad = list[NDArray[Any]](), list[str]()
    for rows in (rows for job in parts.jobs(source, 1) for rows in views(source, job, view, codec)):
        found.append(rows["view"][rows["reason"] == ""])
        bad += [f"{rows['file'][i]} ({rows['reason'][i]})" for i in np.flatnonzero(rows["reason"] != "")]
        if sum(map(len, found)) >= limit:
            break
    if not sum(map(len, found)):
        raise UserError(f"--input: none of the {len(bad)} samples can be read; the first is {bad[0]}")
    return np.concatenate(found)[:limit]


def write_chunk(folder: Path, first_id: int, rows: Arrays, embeddings: NDArray[np.float32]) -> Chunk:
    """Store what became of some rows of one part.

    Args:
        embeddings: of the rows that have no reason, in order: [good rows, D].
        first_id: sample id of the part's first row.
        rows: as `views` yields them, without the views; all of one part.

    Raises:
        OSError: `folder` cannot be written or is full.
    """
    good = rows["reason"] == ""  # [n]
    raws = [
        Raw(str(file), None if row == NO_ROW else int(row), error=str(reason))
        for file, row, reason in zip(rows["file"], rows["file_row"].tolist(), rows["reason"], strict=True)
    ]
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(embeddings.ravel()), type=schema(embeddings.shape[1]).field("embedding").type
    )
    origins = [raw.origin for raw in raws if not raw.error]
    chunk = Chunk(
        index=int(rows["part"][0]),
        first=int(rows["row"][0]),
        num_rows=len(origins),
        bad=tuple((raw.file, raw.row, str(raw.error)) for raw in raws if raw.error),
    )
    table = pa.table([first_id + rows["row"][good], origins, vectors], schema=schema(embeddings.shape[1]))
    if chunk.num_rows:
        parquet.write(table, _chunk_path(folder, chunk))
    return chunk


def finish_part(folder: Path, job: Job, settings: Settings, chunks: Sequence[Chunk]) -> EmbeddingRecord:
    """Merge the chunks of a part into its file, in order; the record comes last, then the chunks go.

    Raises:
        OSError: `folder` cannot be written or is full.
    """
    chunks = sorted(chunks, key=lambda chunk: chunk.first)
    filled = [_chunk_path(folder, chunk) for chunk in chunks if chunk.num_rows]
    path = folder / part_name(job.index)
    if filled:
        made = schema(settings.embed_dim)
        with write_aside(path) as file, pq.ParquetWriter(file, made, write_page_checksum=True) as writer:
            for chunk in filled:
                with parquet.opened(chunk) as rows:
                    writer.write_table(rows.read().replace_schema_metadata(None).cast(made))
    record = EmbeddingRecord(
        key=settings.key(job),
        index=job.index,
        path=path.name if filled else "",
        num_rows=sum(chunk.num_rows for chunk in chunks),
        num_bytes=path.stat().st_size if filled else 0,
        sha256=sha256_of(path) if filled else "",
        bad=tuple(bad for chunk in chunks for bad in chunk.bad),
    )
    parts.write_record(folder / PARTS, record)
    for chunk in filled:
        chunk.unlink(missing_ok=True)
    return record


def recorded(folder: Path, job: Job, settings: Settings) -> EmbeddingRecord | None:
    """The record of an earlier, interrupted run, if this very part was finished and its file is whole."""
    record = parts.read_record(EmbeddingRecord, folder / PARTS, job.index, settings.key(job))
    is_there = record and (not record.path or parts.is_whole(folder / record.path, record.num_bytes))
    return record if is_there else None


def finish(folder: Path, settings: Settings, records: Sequence[EmbeddingRecord]) -> Embeddings:
    """Write _quarantine.parquet and, last, _embeddings.json; remove what kills have left."""
    records = sorted(records, key=lambda record: record.index)
    bad = [row for record in records for row in record.bad]
    columns = [list(column) for column in zip(*bad, strict=True)] if bad else [[], [], []]
    parquet.write(pa.table(columns, schema=QUARANTINE), folder / embedding_folder.QUARANTINE)
    files = tuple(
        {"path": r.path, "num_rows": r.num_rows, "num_bytes": r.num_bytes, "sha256": r.sha256}
        for r in records
        if r.path
    )
    num_embedded = sum(record.num_rows for record in records)
    made = Embeddings(
        settings=settings,
        num_samples=num_embedded + len(bad),
        num_embedded=num_embedded,
        num_quarantined=len(bad),
        files=files,
        digest=fingerprint([file["sha256"] for file in files]),
    )
    listed = {file["path"] for file in files}
    for stale in folder.glob("part-*.parquet"):  # of an earlier run that cut the input otherwise
        if stale.name not in listed and is_ours(stale):
            stale.unlink()
    asides = (*folder.glob(f".*{ASIDE}"), *(folder / PARTS).glob(f".*{ASIDE}"))
    for left in (*(folder / PARTS).glob("*.chunk.parquet"), *asides):
        left.unlink(missing_ok=True)
    with write_aside(folder / NAME) as file:
        file.write(made.model_dump_json(indent=2).encode())
    return made


def _chunk_path(folder: Path, chunk: Chunk) -> Path:
    return folder / PARTS / f"{chunk.index:05d}-{chunk.first:08d}.chunk.parquet"
