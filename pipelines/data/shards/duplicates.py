"""Which samples have the same bytes as an earlier one: sorted in buckets on the disk, so memory stays flat.

Shapes: n samples of one bucket.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.data.shards.schema import CONTENT, DUPLICATES
from pipelines.storage import parquet
from pipelines.storage.atomic import write_aside

NAME = "duplicates.parquet"
BUCKET_ROWS = 4_000_000
"""Samples held at once: about 70 MB, and three times that while they are sorted."""
MAX_BUCKETS = 256
_ROW = np.dtype([("sample_id", np.int64), ("content", np.int64), ("test", np.bool_)])


def write(folder: Path, parts: Iterable[Path], num_samples: int, bucket_rows: int = BUCKET_ROWS) -> tuple[int, int]:
    """Write duplicates.parquet, one row group per bucket, each sorted by sample id.

    Args:
        parts: tables of CONTENT.
        num_samples: about as many rows as they have.
    Returns: (samples equal to an earlier one, test samples equal to a train one).
    """
    num_buckets = min(MAX_BUCKETS, max(1, -(-num_samples // bucket_rows)))
    num_found = num_leaked = 0
    with ExitStack() as files:
        buckets = [files.enter_context(TemporaryFile(dir=folder)) for _ in range(num_buckets)]
        for path in parts:
            rows = _rows(parquet.table(path, CONTENT))
            where = rows["content"].view(np.uint64) % np.uint64(num_buckets)  # a hash: even as it is
            for index in np.unique(where).tolist():
                buckets[index].write(rows[where == index].tobytes())
        writer = pq.ParquetWriter(files.enter_context(write_aside(folder / NAME)), DUPLICATES)
        files.enter_context(writer)
        for bucket in buckets:
            bucket.seek(0)
            found, leaked = _duplicates(np.frombuffer(bucket.read(), _ROW))
            num_found, num_leaked = num_found + found.num_rows, num_leaked + leaked
            if found.num_rows:
                writer.write_table(found.sort_by("sample_id"))
    return num_found, num_leaked


def _rows(table: pa.Table) -> NDArray[np.void]:
    rows = np.empty(table.num_rows, _ROW)  # [n]
    for name in CONTENT.names:
        rows[name] = table[name].to_numpy()
    return rows


def _duplicates(rows: NDArray[np.void]) -> tuple[pa.Table, int]:
    ids, content, test = rows["sample_id"], rows["content"], rows["test"]
    order = np.lexsort((ids, content))
    ids, content, test = ids[order], content[order], test[order]
    is_first = np.ones(len(ids), bool)
    is_first[1:] = content[1:] != content[:-1]
    first = ids[np.maximum.accumulate(np.where(is_first, np.arange(len(ids)), 0))]
    found = pa.table([ids[~is_first], first[~is_first]], schema=DUPLICATES)
    return found, int(np.isin(content[test], content[~test]).sum())
