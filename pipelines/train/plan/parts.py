"""A few seconds of the very work that a pre-training does, timed on nodes of the kind that will do it.

One task reads and augments blocks that training will read, another feeds one of them to the training loop in the place
of a worker. Both run alone, one after the other, then all workers with their readers. Where there is no room for these,
pipelines/train/plan/forecast.py puts the parts together. Nothing is left behind.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psutil
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.batches.order import Order
from pipelines.data.batches.reading import Arrays, Piece, read_piece
from pipelines.data.batches.stream import training_order, training_pieces
from pipelines.data.shards import manifest
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.runtime import capacity
from pipelines.runtime.placement import placement
from pipelines.storage import checkpoint
from pipelines.train.loop import train
from pipelines.train.plan import rehearsal
from pipelines.train.plan.forecast import Measured
from pipelines.train.ray_worker import usual_monitor
from pipelines.train.worker import Worker
from ssl_core.catalog import find
from ssl_core.methods.base import Method

SECONDS = 4.0
"""That each of the two is timed, after its warm-up."""
WARM_UP, FEWEST = 3, 3
"""Steps that are not timed, and those that are at least."""
PATIENCE_S = 600


class Read(NamedTuple):
    """What one reader did."""

    samples: int
    blocks: int
    seconds: float
    cpu_seconds: float
    num_bytes: float
    """Of the row groups that it read."""
    made_bytes: int
    resident: int


class Stepped(NamedTuple):
    """What one worker did."""

    steps: int
    seconds: float
    cpu_seconds: float
    look_s: float
    save_s: float
    checkpoint_bytes: int
    resident: int
    gpu_bytes: int


def rehearse(config: RunConfig, shards: ShardSet, use_gpu: bool) -> Measured:
    """Measure, on any node with a free CPU (and a GPU, if training uses one).

    Raises:
        UserError: no node is free, or training could not take its first steps either.
    """
    if use_gpu and not capacity.num_gpus():
        raise UserError("train.device: cuda, and the cluster has no GPU just now to rehearse on")
    placed = placement(config, capacity.members(), use_gpu)
    beside = max(placed.workers.values(), default=1)  # workers of a node share its threads
    given = config.model_dump(mode="json"), shards.model_dump(mode="json")
    read: Read = _done(ray.remote(num_cpus=1, max_retries=0)(_read).remote(*given))
    stepped: Stepped = _done(
        ray.remote(num_cpus=1, num_gpus=int(use_gpu), max_retries=0)(_step).remote(*given, use_gpu, beside)
    )
    step_s, together_s = stepped.seconds / stepped.steps, None
    if not placed.unplaced and sum(placed.readers.values()) >= config.train.num_workers:
        together_s = rehearsal.seconds_per_step(config, shards, use_gpu, step_s)
    return Measured(
        share=config.train.global_batch_size // config.train.num_workers,
        step_s=step_s,
        step_cpu_s=stepped.cpu_seconds / stepped.steps,
        sample_s=read.seconds / read.samples,
        sample_cpu_s=read.cpu_seconds / read.samples,
        sample_bytes=read.num_bytes / read.samples,
        block_rows=read.samples / read.blocks,
        block_bytes=read.made_bytes / read.blocks,
        look_s=stepped.look_s,
        save_s=stepped.save_s,
        checkpoint_bytes=stepped.checkpoint_bytes,
        worker_bytes=stepped.resident,
        gpu_bytes=stepped.gpu_bytes,
        reader_bytes=read.resident,
        cores=_cores(),
        together_s=together_s,
    )


def _read(config: dict[str, Any], shards: dict[str, Any]) -> Read:
    """Blocks as a read task makes them, for SECONDS; the first one is not timed."""
    settings, folder = parse(config), ShardSet.model_validate(shards).folder
    listing = manifest.load(folder)
    pieces, views = training_pieces(settings, folder, listing, settings.train.num_workers)
    upcoming: Iterator[Piece] = cycle(pieces)
    read_piece(next(upcoming), views)
    samples, blocks, num_bytes, made_bytes = 0, 0, 0.0, 0
    begin, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < SECONDS:
        piece = next(upcoming)
        arrays = read_piece(piece, views)
        samples, blocks = samples + len(piece.rows.row), blocks + 1
        num_bytes += _bytes_of(piece, folder, listing)
        made_bytes += sum(array.nbytes for array in arrays.values())
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    return Read(samples, blocks, seconds, cpu_seconds, num_bytes, made_bytes, psutil.Process().memory_info().rss)


def _bytes_of(piece: Piece, folder: Path, listing: Manifest) -> float:
    """Stored bytes of the row groups that a piece reads; within a file, rows are taken as equally large."""
    files = {str(folder / file.path): file for file in listing.train}
    used = ((files[group.path], group.number) for group in piece.groups)
    return sum(file.num_bytes * file.row_groups[number] / file.num_rows for file, number in used)


@dataclass(frozen=True)
class _Understudy(Worker):
    """In the place of one worker; keeps what the loop has built, so that a look and a checkpoint can be timed too."""

    built: list[tuple[Method, torch.optim.Optimizer]] = field(default_factory=list)

    def restore(self, method: Method, optimizer: torch.optim.Optimizer, order: Order) -> int:
        self.built.append((method, optimizer))
        return 0


class _Enough(Exception):
    """Ends the loop from inside its batches."""


def _step(config: dict[str, Any], shards: dict[str, Any], use_gpu: bool, beside: int) -> Stepped:
    """Steps on one worker's share of the global batch, for SECONDS, then a look and a checkpoint."""
    settings, made = parse(config), ShardSet.model_validate(shards)
    listing = manifest.load(made.folder)
    torch.set_num_threads(settings.train.threads or max(1, (os.cpu_count() or 1) // beside))
    share = settings.train.global_batch_size // settings.train.num_workers
    pieces, views = training_pieces(settings, made.folder, listing, settings.train.num_workers)
    arrays = read_piece(next(pieces), views)
    batches = [{k: a[i : i + share] for k, a in arrays.items()} for i in range(0, len(arrays["planned_id"]), share)]
    alone = {"steps": 10**9, "epochs": None, "num_workers": 1, "global_batch_size": share}
    settings = settings.model_copy(update={"train": settings.train.model_copy(update=alone)})
    marks: list[tuple[float, float]] = []
    taken = [0]

    def open_batches(start: int, stop: int) -> Iterator[Arrays]:
        for step, batch in zip(count(), cycle(batches)):
            if step == WARM_UP:
                marks.append(_now(use_gpu))
            elif step >= WARM_UP + FEWEST and time.perf_counter() - marks[0][0] > SECONDS:
                marks.append(_now(use_gpu))
                taken[0] = step - WARM_UP
                raise _Enough
            yield batch

    order, labels = training_order(settings, listing), manifest.labels(made.folder, listing, "train")
    reads_labels = find("ssl_core.methods", settings.method.name).reads_labels
    with TemporaryDirectory() as folder:
        worker = _Understudy(0, 1, torch.device("cuda" if use_gpu else "cpu"), Path(folder))
        monitor = usual_monitor(settings, made, listing, labels, worker)
        with suppress(_Enough):
            train(settings, worker, order, open_batches, labels=labels if reads_labels else None)
        ((method, optimizer),) = worker.built
        resident = psutil.Process().memory_info().rss
        look_s = _timed(lambda: monitor(method)) if monitor else 0.0
        save_s = _timed(lambda: checkpoint.save(worker.checkpoints, 1, method, optimizer, {}))
        num_bytes = sum(path.stat().st_size for path in worker.checkpoints.rglob("*") if path.is_file())
    resident = max(resident, psutil.Process().memory_info().rss)
    seconds, cpu_seconds = (end - begin for begin, end in zip(*marks, strict=True))
    gpu_bytes = torch.cuda.max_memory_reserved() if use_gpu else 0
    return Stepped(taken[0], seconds, cpu_seconds, look_s, save_s, num_bytes, resident, gpu_bytes)


def _now(use_gpu: bool) -> tuple[float, float]:
    if use_gpu:
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _timed(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def _done(task: Any) -> Any:
    """
    Raises:
        UserError: the task failed, or found no room.
    """
    if not ray.wait([task], timeout=PATIENCE_S)[0]:
        ray.cancel(task, force=True)
        raise UserError(
            f"plan: the rehearsal was not done in {PATIENCE_S} s; is the cluster busy? see `ray status` there"
        )
    try:
        return ray.get(task)
    except UserError as error:
        raise UserError(str(getattr(error, "cause", error))) from None  # Ray's own text is a traceback


def _cores() -> dict[str, int]:
    """Processors of each machine, by address: a node may be told that it has more CPUs, or several share a machine."""
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(num_cpus=0)(_count).options(scheduling_strategy=there)
            asked[node["NodeManagerAddress"]] = task.remote()
    return {machine: ray.get(task) for machine, task in asked.items()}


def _count() -> int:
    return os.cpu_count() or 1
