"""One part of an input to embeddings, free of Ray: views, chunks written aside, merged into a file, then its record.

OUTPUT/part-00000.parquet   sample_id, path, embedding: the samples of one part of the listing, in order
OUTPUT/quarantine.parquet   file, row, reason: what could not be read
OUTPUT/embeddings.json      what was made from what; appears when everything else is complete
OUTPUT/parts/               records that let an interrupted run go on

Shapes: n rows of a chunk, S side of a view, D encoder width.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.config.flat import fingerprint
from pipelines.data.shards import writing
from pipelines.data.shards.schema import QUARANTINE
from pipelines.data.shards.writing import Job
from pipelines.data.sources.base import Raw, Source
from pipelines.errors import UserError
from pipelines.storage import parquet
from pipelines.storage.atomic import ASIDE, write_aside
from pipelines.storage.checksum import sha256_of
from ssl_core.build import build_chain
from ssl_core.codecs._image.decode import decode, image_shape
from ssl_core.config import Config, NamedConfig

NAME, INPUTS, PARTS = "embeddings.json", "inputs.json", "parts"
READ_ROWS = 64
"""Samples decoded at a time."""
NO_ROW = -1

Arrays = dict[str, NDArray[Any]]


class Settings(Config):
    """parts/inputs.json: what the embeddings depend on; a folder holds those of one model and one input."""

    model: str
    """As the registry names it, e.g. models:/digits-simclr/3, or a folder."""
    sha256: str
    """Of the weights."""
    view: dict[str, Any]
    """The chain that the samples go through."""
    embed_dim: int
    max_pixels: int
    source: dict[str, Any]
    fingerprint: str
    """Of the input: names, sizes and times."""

    def key(self, job: Job) -> str:
        return fingerprint([self.model_dump(mode="json"), job.dumps()])


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


class PartRecord(Config):
    """parts/00000.json: one finished part."""

    key: str
    index: int
    path: str
    """Of its Parquet file; empty: nothing in it could be read."""
    num_rows: int
    num_bytes: int
    sha256: str
    bad: tuple[tuple[str, int | None, str], ...]


class Embeddings(Config):
    """embeddings.json."""

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


def views(source: Source, job: Job, chain: NamedConfig, max_pixels: int) -> Iterator[Arrays]:
    """A part as the encoder's views, a few dozen samples at a time; one that cannot be read has a reason and no pixels.

    Yields: `part`, `row` [n] int64, `file` [n], `file_row` [n] (-1: the file is the sample), `reason` [n] ("": good),
        `view` [n, S, S, 3] uint8.
    """
    made, rows = build_chain(chain), enumerate(source.read(job.part))
    side = made.view_shape[-1]
    while batch := list(islice(rows, READ_ROWS)):
        view = np.zeros((len(batch), side, side, 3), np.uint8)
        reasons = []
        for place, (row, raw) in enumerate(batch):
            stored = writing.cleaned(raw, max_pixels)  # as ingest does, so that a sample has one embedding
            reasons.append(str(stored.error) if isinstance(stored, Raw) else "")
            if isinstance(stored, bytes):
                shapes, ids = np.array([image_shape(stored, max_pixels=max_pixels)]), np.array([job.first_id + row])
                reduction = int(made.reduction(shapes, ids, 0)[0])
                view[place] = made([decode(stored, max_pixels=max_pixels, reduction=reduction)], ids, 0)[0]
        yield {
            "part": np.full(len(batch), job.index, np.int64),
            "row": np.array([row for row, _ in batch], np.int64),
            "file": np.array([raw.file for _, raw in batch], object),
            "file_row": np.array([NO_ROW if raw.row is None else raw.row for _, raw in batch], np.int64),
            "reason": np.array(reasons, object),
            "view": view,
        }


def some_views(source: Source, chain: NamedConfig, max_pixels: int, limit: int) -> NDArray[np.uint8]:
    """The views of the first samples of a source that can be read, at most `limit`: [n, S, S, 3], n >= 1.

    Raises:
        UserError: nothing to read, or none of it can be.
    """
    found, bad = list[NDArray[np.uint8]](), list[str]()
    for rows in (rows for job in writing.jobs(source, 1) for rows in views(source, job, chain, max_pixels)):
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
        with write_aside(_chunk_path(folder, chunk)) as file:
            pq.write_table(table, file)
    return chunk


def finish_part(folder: Path, job: Job, settings: Settings, chunks: Sequence[Chunk]) -> PartRecord:
    """Merge the chunks of a part into its file, in order; the record comes last, then the chunks go.

    Raises:
        OSError: `folder` cannot be written or is full.
    """
    chunks = sorted(chunks, key=lambda chunk: chunk.first)
    filled = [_chunk_path(folder, chunk) for chunk in chunks if chunk.num_rows]
    path = folder / f"part-{job.index:05d}.parquet"
    if filled:
        made = schema(settings.embed_dim)
        with write_aside(path) as file, pq.ParquetWriter(file, made, write_page_checksum=True) as writer:
            for chunk in filled:
                with parquet.opened(chunk) as rows:
                    writer.write_table(rows.read().replace_schema_metadata(None).cast(made))
    record = PartRecord(
        key=settings.key(job),
        index=job.index,
        path=path.name if filled else "",
        num_rows=sum(chunk.num_rows for chunk in chunks),
        num_bytes=path.stat().st_size if filled else 0,
        sha256=sha256_of(path) if filled else "",
        bad=tuple(bad for chunk in chunks for bad in chunk.bad),
    )
    with write_aside(_record_path(folder, job)) as file:
        file.write(record.model_dump_json(indent=1).encode())
    for chunk in filled:
        chunk.unlink(missing_ok=True)
    return record


def recorded(folder: Path, job: Job, settings: Settings) -> PartRecord | None:
    """The record of an earlier, interrupted run, if this very part was finished and its file is whole."""
    path = _record_path(folder, job)
    if not path.exists():
        return None
    try:
        record = PartRecord.model_validate_json(path.read_text())
    except ValidationError:  # written by another version
        return None
    is_there = not record.path or writing.is_whole(folder / record.path, record.num_bytes)
    return record if record.key == settings.key(job) and is_there else None


def finish(folder: Path, settings: Settings, records: Sequence[PartRecord]) -> Embeddings:
    """Write quarantine.parquet and, last, embeddings.json; remove what kills have left."""
    records = sorted(records, key=lambda record: record.index)
    bad = [row for record in records for row in record.bad]
    columns = [list(column) for column in zip(*bad, strict=True)] if bad else [[], [], []]
    with write_aside(folder / "quarantine.parquet") as file:
        pq.write_table(pa.table(columns, schema=QUARANTINE), file)
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
        if stale.name not in listed:
            stale.unlink()
    for left in (*(folder / PARTS).glob("*.chunk.parquet"), *folder.rglob(f".*{ASIDE}")):
        left.unlink(missing_ok=True)
    with write_aside(folder / NAME) as file:
        file.write(made.model_dump_json(indent=2).encode())
    return made


def _record_path(folder: Path, job: Job) -> Path:
    return folder / PARTS / f"{job.index:05d}.json"


def _chunk_path(folder: Path, chunk: Chunk) -> Path:
    return folder / PARTS / f"{chunk.index:05d}-{chunk.first:08d}.chunk.parquet"
