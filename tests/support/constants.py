"""What one sample, file, step or point costs the driver: `python -m tests.support.constants` prints JSON.

docs/scale.md multiplies these by what 64 GPUs and a billion samples need. CPU seconds, so that other work on the
machine does not count.
"""

import json
import time
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data.batches.layout import Layout, windows
from pipelines.data.batches.order import Order
from pipelines.data.shards.labels import Labels
from pipelines.data.shards.schema import LABELS
from pipelines.data.shards.schema import samples as sample_schema
from pipelines.data.sources._walk import Entry
from pipelines.evaluate.leaks import hashes, pairs
from pipelines.evaluate.leaks.hashes import Hashes, StoredHashes
from pipelines.storage import journal, parquet
from pipelines.storage.checksum import sha256_of
from pipelines.tracking.server import Value, connect, log_values
from pipelines.train import consumption
from ssl_core.codecs.image import Image
from tests.support import scale

ROWS = 2_000_000
WINDOW = 1_000_000
"""Hashes that the leak check holds at once, about."""


def seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def ordering() -> dict[str, float]:
    """The audit walks the whole order: rows of the order, then their hashes."""
    order = Order(np.full(ROWS // 256, 256), "0" * 64, 0, scale.SHUFFLE_ROWS, scale.BATCH)
    ids = np.arange(ROWS)
    spans = list(order.spans(0, order.batches_per_epoch, 4))
    planned = seconds(lambda: [order.rows(0, s.start * scale.BATCH, s.stop * scale.BATCH) for s in spans])
    hashed = seconds(lambda: consumption.hashes(ids))
    return {"order_us_per_row": 1e6 * planned / ROWS, "audit_hash_us_per_row": 1e6 * hashed / ROWS}


def blocks() -> dict[str, float]:
    """A read task of 128 rows, as it travels to Ray."""
    import cloudpickle

    layout = Layout(Path("/shared/shards"), scale.generated(ROWS), "train")
    order = Order(layout.sizes, "0" * 64, 0, scale.SHUFFLE_ROWS, scale.BATCH)
    pieces = [layout.piece(order.share(span, 0, 32), 0) for span in order.spans(0, 50, 1)]
    rows = sum(len(piece.rows.row) for piece in pieces)
    return {"task_bytes_per_row": len(cloudpickle.dumps(pieces)) / rows}


def files(folder: Path) -> dict[str, float]:
    """Opening a shard, a label look-up, sha256."""
    count = 8192
    table = pa.table([range(count), [b"x" * 1000] * count, ["a.jpg"] * count], schema=sample_schema("image"))
    pq.write_table(table, folder / "a.parquet", row_group_size=256, use_dictionary=False, compression="none")
    pq.write_table(pa.table([range(count), ["a"] * count], schema=LABELS), folder / "labels.parquet")
    labels = Labels([folder / "labels.parquet"], ["a"])
    plain = seconds(lambda: [pq.ParquetFile(folder / "a.parquet", memory_map=True).close() for _ in range(200)])
    checked = seconds(lambda: [parquet.opened(folder / "a.parquet", memory_map=True).close() for _ in range(200)])
    whole = (folder / "a.parquet").stat().st_size
    hashing = seconds(lambda: [sha256_of(folder / "a.parquet") for _ in range(20)])
    return {
        "open_ms_pyarrow": 1e3 * plain / 200,
        "open_ms_checked": 1e3 * checked / 200,
        "label_us": 1e6 * seconds(lambda: [labels[i] for i in range(count)]) / count,
        "sha256_gb_per_s": 20 * whole / hashing / 1e9,
    }


def listing() -> dict[str, float]:
    """What the folder source keeps of each file while it lists them."""
    tracemalloc.start()
    kept = [
        Entry(f"train/class_{i % 1000:04d}/picture_{i:09d}.jpg", 10_000 + i, 1_700_000_000 + i) for i in range(100_000)
    ]
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {"folder_listing_bytes_per_sample": size / len(kept)}


def hashing() -> dict[str, float]:
    """Planned rows of the three windows that are hashed first, one after the other."""
    made = scale.generated(2 * ROWS)
    tracemalloc.start()
    for _ in islice(windows(Path("/shared/shards"), made, 512), 3):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"leak_check_planned_mb": peak / 1e6}


def leak_check(folder: Path, num_train: int, num_test: int) -> dict[str, float]:
    """Test samples looked for among train samples by random hashes, `WINDOW` of them to a file."""
    draw = np.random.default_rng(0)

    def side(rows: int) -> Hashes:
        return Hashes(np.arange(rows), draw.integers(0, 2**64, rows, np.uint64))

    for number, first in enumerate(range(0, num_train, WINDOW)):
        test = side(num_test if first == 0 else 0)
        hashes.keep(hashes.window_path(folder, number), side(min(WINDOW, num_train - first)), test)
    blank = np.zeros((pairs._PART, 32, 32, 3), np.uint8)
    codec = Image(Image.Config())

    def alike(test: np.ndarray, train: np.ndarray) -> np.ndarray:
        return codec.similarity(blank[: len(test)], blank[: len(train)])

    def look() -> object:
        return pairs.alike_samples(StoredHashes(folder, "train"), StoredHashes(folder, "test"), alike)

    spent = seconds(look)
    tracemalloc.start()
    look()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"leak_check_ns_per_pair": 1e9 * spent / (num_train * num_test), "leak_check_mb": peak / 1e6}


def points(folder: Path) -> dict[str, float]:
    """A metric point in the outbox and in MLflow over SQLite."""
    line = {
        "time": 1_700_000_000_000,
        "step": 123_456,
        "metrics": {f"train/metric_{i}": 0.123456789 for i in range(10)},
    }
    journal.append(folder / "outbox.jsonl", [line] * 1000)
    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    run_id = client.create_run("0").info.run_id
    before = (folder / "mlflow.db").stat().st_size
    values = [Value(f"train/metric_{i % 10}", 1_700_000_000_000 + i, i // 10, 0.5) for i in range(20_000)]
    taken = seconds(lambda: log_values(client, run_id, values))
    return {
        "outbox_bytes_per_point": (folder / "outbox.jsonl").stat().st_size / 10_000,
        "mlflow_bytes_per_point": ((folder / "mlflow.db").stat().st_size - before) / len(values),
        "mlflow_us_per_point": 1e6 * taken / len(values),
    }


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        found = {**ordering(), **blocks(), **files(folder), **listing(), **points(folder)}
        found |= hashing() | leak_check(folder / "hashes", 10 * WINDOW, 100)
    print(json.dumps({key: float(f"{value:.3g}") for key, value in found.items()}, indent=1))


if __name__ == "__main__":
    main()
