"""The tables that ingest writes: each file has just these columns, and readers refuse any others."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage import parquet


def samples(field: str) -> pa.Schema:
    """Of a file of samples that have one field."""
    return pa.schema([("sample_id", pa.int64()), (field, pa.binary()), ("origin", pa.string())])


def must_be_samples(file: pq.ParquetFile, path: Path) -> str:
    """The field that a file of samples has.

    Raises:
        Refused: its columns are others.
    """
    names = file.schema_arrow.names
    field = names[1] if len(names) == 3 else ""
    parquet.must_be(file, samples(field or "image"), path)
    return field


def column_of_samples(path: Path, *columns: str) -> pa.Table:
    """Columns of a file of samples; `field` stands for the one that holds the encoded bytes.

    Raises:
        Refused: its columns are others; OSError, pa.ArrowInvalid: it cannot be read.
    """
    with parquet.opened(path) as file:
        field = must_be_samples(file, path)
        found = file.read(columns=[field if column == "field" else column for column in columns])
        return found.rename_columns(list(columns)).replace_schema_metadata(None)


LABELS = pa.schema([("sample_id", pa.int64()), ("label", pa.string())])
QUARANTINE = pa.schema([("file", pa.string()), ("row", pa.int64()), ("reason", pa.string())])
CONTENT = pa.schema([("sample_id", pa.int64()), ("content", pa.int64()), ("test", pa.bool_())])
"""`content`: the first 64 bits of the sha256 of the stored bytes."""
DUPLICATES = pa.schema([("sample_id", pa.int64()), ("first_sample_id", pa.int64())])
