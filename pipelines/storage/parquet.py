"""Parquet files opened only after their footer was checked: no Arrow extension type is ever brought to life.

Opening a file with pyarrow already makes the extension types that its Arrow schema names, if this process knows
them (Ray registers some), and making one can run code from the file (CVE-2026-41486 and its kin). So the Arrow schema
is taken out of the footer before pyarrow sees it, read in a form that names no known type, and refused if it holds any.
"""

import base64
import binascii
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.storage.atomic import write_aside

MAGIC = b"PAR1"
MAX_FOOTER = 256 << 20
_ARROW, _INERT = b"ARROW:schema", b"ARROW:schemx"
_NAME, _INERT_NAME = b"ARROW:extension:name", b"ARROW:extension:namx"


class Refused(UserError):
    """A file whose schema is not safe to read, or not what it should be."""


def opened(path: Path, **options: object) -> pq.ParquetFile:
    """A Parquet file with plain types only.

    Args:
        options: of `pyarrow.parquet.ParquetFile`.
    Raises:
        Refused: it names an Arrow extension type.
        OSError, pa.ArrowInvalid: it cannot be read, or is no Parquet file.
    """
    with path.open("rb") as file:
        raw = _footer(file)
    if raw.count(_ARROW) + raw.count(_INERT) > 1:
        raise Refused(f"{path}: its footer names {_ARROW.decode()} twice; refused")
    inert = raw.replace(_ARROW, _INERT)
    alone = MAGIC + inert + len(inert).to_bytes(4, "little") + MAGIC
    metadata = pq.ParquetFile(pa.BufferReader(alone)).metadata
    _check_arrow_schema(path, (metadata.metadata or {}).get(_INERT))
    return pq.ParquetFile(path, metadata=metadata, **options)


def write(table: pa.Table, path: Path) -> None:
    """Write a whole table beside `path`, then rename it."""
    with write_aside(path) as file:
        pq.write_table(table, file)


def table(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """One of our own tables, which has just the columns of `schema`.

    Raises:
        Refused: it has others.
        OSError, pa.ArrowInvalid: it cannot be read.
    """
    with opened(path) as file:
        must_be(file, schema, path)
        found = file.read(columns=None if columns is None else list(columns))
        return found.replace_schema_metadata(None)


def again(path: Path) -> str:
    """What to do about a shard that is gone or damaged: the folder of an ingest that is there is not made again."""
    folder = next((folder for folder in path.parents if (folder / "manifest.json").exists()), None)
    return f"delete {folder} and run again" if folder else "ingest again"


def must_be(file: pq.ParquetFile, schema: pa.Schema, path: Path) -> None:
    """
    Raises:
        Refused: the columns are not those of `schema`.
    """
    if not file.schema_arrow.equals(schema):
        found = ", ".join(f"{field.name}: {field.type}" for field in file.schema_arrow)
        wanted = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise Refused(f"{path}: its columns are ({found[:200]}), not ({wanted}); not written by this Selfray")


def _footer(file: BinaryIO) -> bytes:
    size = file.seek(0, os.SEEK_END)
    if size < 12:
        raise pa.ArrowInvalid(f"{size} bytes")
    file.seek(size - 8)
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC:
        raise pa.ArrowInvalid("encrypted" if tail[4:] == b"PARE" else "no Parquet magic bytes at its end")
    if not 0 < length <= min(size - 12, MAX_FOOTER):
        raise pa.ArrowInvalid(f"a footer of {length} bytes in a file of {size}")
    file.seek(size - 8 - length)
    return file.read(length)


def _check_arrow_schema(path: Path, encoded: bytes | None) -> None:
    """Refuse extension types, by the names they are stored under, whether or not this process knows them."""
    if encoded is None:
        return
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise Refused(f"{path}: its Arrow schema is damaged ({error}); refused") from None
    if _NAME not in raw:
        return
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(raw.replace(_NAME, _INERT_NAME)))
    except (pa.ArrowException, OSError):
        raise Refused(f"{path}: its Arrow schema has an extension type and is damaged; refused") from None
    named = (f"column '{field.name}' has the extension type {kind}" for field in schema for kind in _extensions(field))
    raise Refused(f"{path}: {next(named, 'its Arrow schema speaks of an extension type')}; refused")


def _extensions(field: pa.Field) -> Iterator[str]:
    """Names of the extension types of a field and all below it."""
    named = (field.metadata or {}).get(_INERT_NAME)
    if named is not None:
        yield named.decode(errors="replace")
    for index in range(field.type.num_fields):
        yield from _extensions(field.type.field(index))
