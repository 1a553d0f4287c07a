"""Memory and time while streaming 1, 4 and 16 times the data: `python -m tests.benchmarks memory`.

One epoch at a time through Ray Data, taken as fast as it comes. Memory is what the process tree (driver, Ray's own
processes, data tasks) has to itself: resident minus shared, looked at ten times a second. The object store is apart.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from pipelines.config.run import RunConfig
from pipelines.data.batches.stream import training_batches, training_order
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.runtime import session
from tests.benchmarks.corpus import image_files, ingested, simclr
from tests.benchmarks.runner import Outcome, Row, goal, spread

TIMES = (1, 4, 16)
ROUNDS = 2
FEW, MANY = 512, 16_384
"""Images of 32 px that make 1x; MANY are six blocks of the default size."""
MEGABYTE = 1e6


class Peak:
    """Highest values seen since the watch began, in MB."""

    private = 0.0
    store = 0.0

    def look(self) -> None:
        self.private = max(self.private, _private_bytes() / MEGABYTE)
        self.store = max(self.store, _store_bytes() / MEGABYTE)


def run(quick: bool = False) -> Outcome:
    seconds: dict[int, list[float]] = {k: [] for k in TIMES}
    peaks: dict[int, list[Peak]] = {k: [] for k in TIMES}
    with TemporaryDirectory() as name:
        folder = Path(name)
        image_files(folder / "files", FEW if quick else MANY, 32, 32)
        config = simclr(folder / "files", folder, 32, 128, {"data.block_mb": 1 if quick else 4})
        once = ingested(config, folder / "shards")
        sets = {k: repeated(once, folder / f"{k}x", k) for k in TIMES}
        session.connect(config)
        session.data_context(config.data.cpus)
        _epoch(config, sets[TIMES[0]], folder)  # what is imported and started once is no growth
        for _ in range(1 if quick else ROUNDS):
            for k in TIMES:
                with watched() as peak:
                    begin = time.perf_counter()
                    _epoch(config, sets[k], folder)
                    seconds[k].append(time.perf_counter() - begin)
                peaks[k].append(peak)
        session.close()
    rows: list[Row] = [
        {
            "images": f"{k * once.num_train:,} ({k}x)",
            "private memory, MB": spread([peak.private for peak in peaks[k]]),
            "object store, MB": spread([peak.store for peak in peaks[k]]),
            "seconds an epoch": spread(seconds[k]),
        }
        for k in TIMES
    ]
    one, four, sixteen = (seconds[k] for k in TIMES)
    growth = [(c - b) / (b - a) / 4 for a, b, c in zip(one, four, sixteen, strict=True)]  # 12x more over 3x more
    pairs = list(zip(peaks[1], peaks[16], strict=True))
    return Outcome(
        {"Streaming 32 px images": rows},
        [
            goal(
                "16x the data: private memory over that of 1x",
                spread([b.private / a.private for a, b in pairs]),
                at_most=1.1,
            ),
            goal(
                "16x the data: object store over that of 1x", spread([b.store / a.store for a, b in pairs]), at_most=1.1
            ),
            goal("16x the data: time per added image over that up to 4x", spread(growth), at_most=1.1),
        ],
    )


def repeated(shards: ShardSet, folder: Path, times: int) -> ShardSet:
    """The same shard files several times over, as hard links under other names."""
    listing = manifest.load(shards.folder)
    (folder / "train").mkdir(parents=True)
    files = []
    for number in range(times):
        for file in listing.train:
            path = f"train/{number:02d}-{Path(file.path).name}"
            os.link(shards.folder / file.path, folder / path)
            files.append(file.model_copy(update={"path": path}))
    listing = listing.model_copy(update={"train": tuple(files)})
    listing = listing.model_copy(update={"digest": listing.compute_digest()})
    (folder / manifest.NAME).write_text(listing.model_dump_json())
    return shards.model_copy(update={"folder": folder, "digest": listing.digest})


@contextmanager
def watched() -> Iterator[Peak]:
    peak, done = Peak(), threading.Event()

    def follow() -> None:
        while not done.wait(0.1):
            peak.look()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    yield peak
    done.set()
    thread.join()


def _epoch(config: RunConfig, shards: ShardSet, stage: Path) -> None:
    listing = manifest.load(shards.folder)
    steps = training_order(config, listing).batches_per_epoch
    taken = sum(1 for _ in training_batches(config, shards.folder, listing, 0, 1, 0, steps, stage))
    assert taken == steps


def _private_bytes() -> int:
    me = psutil.Process()
    total = 0
    for process in (me, *me.children(recursive=True)):
        try:
            memory = process.memory_info()
        except psutil.NoSuchProcess:  # it ended while we looked
            continue
        total += memory.rss - memory.shared
    return total


def _store_bytes() -> int:
    """What the object store of the one node holds; Ray has no public way to ask."""
    import ray
    from ray._private.internal_api import node_stats

    (node,) = ray.nodes()
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
    return int(stats.store_stats.object_store_bytes_used)
