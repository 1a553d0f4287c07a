"""The tables that ingest writes: each file has just these columns, and readers refuse any others."""

import pyarrow as pa

SAMPLES = pa.schema([("sample_id", pa.int64()), ("image", pa.binary()), ("origin", pa.string())])
LABELS = pa.schema([("sample_id", pa.int64()), ("label", pa.string())])
QUARANTINE = pa.schema([("file", pa.string()), ("row", pa.int64()), ("reason", pa.string())])
CONTENT = pa.schema([("sample_id", pa.int64()), ("content", pa.int64()), ("test", pa.bool_())])
"""`content`: the first 64 bits of the sha256 of the stored bytes."""
DUPLICATES = pa.schema([("sample_id", pa.int64()), ("first_sample_id", pa.int64())])
