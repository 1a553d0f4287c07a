"""Some seconds of the training itself, with all its workers and readers, timed by the workers.

Workers wait for each other's gradients and statistics, Ray's threads share a processor with the steps, and several
processes a machine: no measurement of one of them alone foresees that. The run is in a folder of its own beside the
shards, tracks nothing, and leaves nothing behind.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pipelines.runtime  # noqa: F401  Ray reads its settings when it is imported

# isort: split
import psutil
import ray
import torch

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.batches.reading import Arrays, Piece, read_piece
from pipelines.data.batches.stream import training_pieces
from pipelines.data.shards import manifest
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.runtime import capacity
from pipelines.runtime.background import BackgroundCall
from pipelines.runtime.placement import placement
from pipelines.storage.signals import FAILURE
from pipelines.train import pretrain
from pipelines.train.plan.forecast import Rehearsed
from pipelines.train.ray_worker import train_here, usual_monitor
from pipelines.train.worker import Worker
from ssl_core.methods.base import Method
from ssl_core.optimize.collectives import from_first

SECONDS = 6.0
"""Of steps that are timed, about."""
WARM_UP, FEWEST = 3, 3
"""Steps that are not timed, one of them with a look and a checkpoint, and those that are at least."""
PATIENCE_S = 600
BLOCKS = 32
"""Over which the bytes that a sample costs to read are averaged."""
ENDLESS = 10**9


def rehearse(config: RunConfig, shards: ShardSet, use_gpu: bool) -> Rehearsed | None:
    """Train for some seconds.

    Returns: None: there is no room for all workers with a reader each.
    Raises:
        UserError: training fails, or does not come so far in PATIENCE_S.
    """
    placed = placement(config, capacity.members(), use_gpu)
    if placed.unplaced or sum(placed.readers.values()) < config.train.num_workers:
        return None
    alone = {"steps": ENDLESS, "epochs": None, "min_workers": None, "log_every": ENDLESS, "max_failures": 0}
    endless = config.model_copy(update={"train": config.train.model_copy(update=alone)})
    with TemporaryDirectory(dir=shards.folder.parent, prefix=".rehearsal-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        training = BackgroundCall(
            lambda: pretrain.fit(endless, shards, folder, use_gpu, train=partial(_train, shards=shards))
        )
        if not training.ended(PATIENCE_S):
            raise UserError(
                f"plan: the rehearsal was not done in {PATIENCE_S} s; is the cluster busy? see `ray status` there"
            )
        if (folder / FAILURE).exists():
            raise UserError(f"plan: the rehearsal failed: {(folder / FAILURE).read_text()}")
        if training.failure:
            raise UserError(f"plan: the rehearsal failed: {pretrain.reason(training.failure)}") from training.failure
        workers = [json.loads(path.read_text()) for path in folder.glob(_result("*"))]
        saved = sum(path.stat().st_size for path in (folder / "checkpoints").rglob("*") if path.is_file())
    slowest = {name: max(worker[name] for worker in workers) for name in workers[0]}
    given = config.model_dump(mode="json"), shards.model_dump(mode="json")
    read = ray.get(ray.remote(num_cpus=1, max_retries=0)(_read).remote(*given), timeout=PATIENCE_S)
    return Rehearsed(**slowest, **read, checkpoint_bytes=saved)


def _result(rank: int | str) -> str:
    return f"rehearsed-{rank}.json"


@dataclass(frozen=True)
class _Timed(Worker):
    """Keeps what it takes to write a checkpoint."""

    saves: list[float] = field(default_factory=list)

    def save(self, step: int, method: Method, optimizer: torch.optim.Optimizer, extra: dict[str, object]) -> None:
        begin = time.perf_counter()
        super().save(step, method, optimizer, extra)
        self.saves.append(time.perf_counter() - begin)


class _Enough(Exception):
    """Ends the loop from inside its batches."""


def _train(config: RunConfig, worker: Worker, shards: ShardSet) -> None:
    """What each worker does; leaves its measurements in the folder."""
    timed, looks, found = _Timed(**vars(worker)), list[float](), dict[str, float]()
    listing = manifest.load(shards.folder)
    monitor = usual_monitor(config, shards, listing, manifest.labels(shards.folder, listing, "train"), worker)

    def look(monitor: Callable[[Method], dict[str, float]], method: Method) -> dict[str, float]:
        begin = time.perf_counter()
        metrics = monitor(method)
        looks.append(time.perf_counter() - begin)
        return metrics

    with suppress(_Enough):
        train_here(
            config,
            shards,
            timed,
            look=partial(look, monitor) if monitor else None,
            milestones=(1,),
            around=lambda batches: _steps(batches, timed.device, found),
        )
    found |= {
        "look_s": max(looks, default=0.0),
        "save_s": max(timed.saves, default=0.0),
        "worker_bytes": psutil.Process().memory_info().rss,
        "gpu_bytes": torch.cuda.max_memory_reserved() if timed.device.type == "cuda" else 0,
    }
    (timed.folder / _result(timed.rank)).write_text(json.dumps(found))


def _steps(batches: Iterator[Arrays], device: torch.device, found: dict[str, float]) -> Iterator[Arrays]:
    """Pass batches on until enough steps are timed, as many on all workers; then end the loop."""
    yield from islice(batches, WARM_UP)
    begin = _now(device)
    yield from islice(batches, FEWEST)
    steps = max(FEWEST, from_first(round(SECONDS * FEWEST / (_now(device) - begin)), device))
    begin, waited = _now(device), 0.0
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        yield batch
    seconds = _now(device) - begin
    found |= {"step_s": seconds / steps, "data_wait": waited / seconds}
    raise _Enough


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _read(config: dict[str, Any], shards: dict[str, Any]) -> dict[str, float]:
    """What one reader holds, and the blocks that it makes."""
    settings, folder = parse(config), ShardSet.model_validate(shards).folder
    listing = manifest.load(folder)
    pieces, views = training_pieces(settings, folder, listing, settings.train.num_workers)
    some = list(islice(pieces, BLOCKS))
    arrays = read_piece(some[0], views)
    rows = sum(len(piece.rows.row) for piece in some)
    view_bytes = sum(array.nbytes for array in arrays.values()) / len(some[0].rows.row)
    return {
        "sample_bytes": sum(_bytes_of(piece, folder, listing) for piece in some) / rows,
        "block_rows": rows / len(some),
        "block_bytes": view_bytes * rows / len(some),
        "reader_bytes": psutil.Process().memory_info().rss,
    }


def _bytes_of(piece: Piece, folder: Path, listing: Manifest) -> float:
    """Stored bytes of the row groups that a piece reads; within a file, rows are taken as equally large."""
    files = {str(folder / file.path): file for file in listing.train}
    used = ((files[group.path], group.number) for group in piece.groups)
    return sum(file.num_bytes * file.row_groups[number] / file.num_rows for file, number in used)
