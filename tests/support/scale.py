"""What the driver needs for a data set of N rows, without the data: `python -m tests.support.scale 100000000`.

Makes the manifest that ingest would write, loads it, plans, and asks for batches anywhere. Prints JSON; docs/scale.md
says what follows from it.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipelines.data.batches.layout import Layout, sizes
from pipelines.data.batches.order import Order
from pipelines.data.shards import manifest
from pipelines.data.shards.manifest import Manifest, ShardFile
from pipelines.data.shards.writing import MAX_GROUP_ROWS
from pipelines.data.sources._files import MAX_SAMPLES

SHUFFLE_ROWS, BATCH, WORKERS = 16_384, 4096, 64
PLACES = 20
"""Batches asked for, anywhere in training."""


def generated(num_rows: int) -> Manifest:
    """The manifest of `num_rows` samples in the largest parts and row groups that ingest makes; no file exists."""
    files = []
    for index in range(-(-num_rows // MAX_SAMPLES)):
        rows = min(MAX_SAMPLES, num_rows - index * MAX_SAMPLES)
        groups = [min(MAX_GROUP_ROWS, rows - first) for first in range(0, rows, MAX_GROUP_ROWS)]
        name, sha256 = f"{index:05d}.parquet", f"{index:064x}"
        files.append(
            ShardFile(
                path=f"train/part-{name}",
                row_groups=tuple(groups),
                num_bytes=rows * 10_000,
                sha256=sha256,
                labels_path=f"train/labels-{name}",
                labels_sha256=sha256,
            )
        )
    whole = Manifest(source={}, train=tuple(files), test=(), classes=("a",), num_quarantined=0, num_duplicates=0)
    return whole.model_copy(update={"digest": whole.compute_digest()})


def measure(num_rows: int, folder: Path) -> dict[str, float]:
    """CPU seconds and MB of resident memory of each step; run it in a fresh process, since memory is that at most."""
    found: dict[str, float] = {"rows": num_rows}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        cpu, memory = time.process_time(), _peak_mb()
        yield
        found[f"{name}_s"] = round(time.process_time() - cpu, 4)
        found[f"{name}_mb"] = round(_peak_mb() - memory, 1)

    path = folder / manifest.NAME
    found["manifest_mb"] = path.stat().st_size / 1e6
    with step("load"):
        listing = manifest.load(folder)
    with step("layout"):
        layout = Layout(folder, listing, "train")
        order = Order(sizes(listing, "train"), listing.digest, 0, SHUFFLE_ROWS, BATCH)
    found["row_groups"] = len(layout.sizes)
    with step("plan"):
        first = next(order.spans(0, 1, 1))
        layout.piece(order.share(first, 0, WORKERS), first.epoch)
    steps = 3 * order.batches_per_epoch
    with step("batches"):  # the last of them lies at the end of the third epoch
        for place in np.linspace(0, steps - 1, PLACES).astype(int).tolist():
            (span,) = order.spans(place, place + 1, 1)
            piece = layout.piece(order.share(span, WORKERS - 1, WORKERS), span.epoch)
            assert len(piece.rows.row) == BATCH // WORKERS
    for name, limit in (("evaluation", 100_000), ("monitor", 1024)):
        with step(name):
            pieces = list(layout.in_order(limit))
        found[f"{name}_rows"] = sum(len(piece.rows.row) for piece in pieces)
        found[f"{name}_pieces"] = len(pieces)
    return found


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    folder = Path(sys.argv[2])
    if sys.argv[3:] == ["write"]:
        (folder / manifest.NAME).write_text(generated(int(sys.argv[1])).model_dump_json())
    else:
        print(json.dumps(measure(int(sys.argv[1]), folder)))


def report(num_rows: int) -> dict[str, float]:
    """`measure` in a process of its own, on a manifest that another one made: neither adds to the other's memory."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.support.scale", str(num_rows), folder]
        subprocess.run([*command, "write"], check=True, timeout=300)
        done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main()
    else:
        print(json.dumps(report(int(sys.argv[1])), indent=1))
