"""What each Ray Train worker runs: its share of the plan, through the loop."""

import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pipelines.runtime  # noqa: F401  Ray reads its settings when it is imported

# isort: split
import ray
import ray.train
import ray.util
import torch
from ray.train.torch import get_device

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.batches.reading import Arrays
from pipelines.data.batches.stream import some_rows, training_batches, training_order
from pipelines.data.shards import manifest
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import Diverged, Interrupted, UserError
from pipelines.runtime import session
from pipelines.storage import lock, outbox
from pipelines.storage.atomic import write_text
from pipelines.storage.signals import DIVERGED, FAILURE
from pipelines.tracking.display import repeating
from pipelines.train.loop import train
from pipelines.train.monitor import Monitor
from pipelines.train.precision import settled
from pipelines.train.warm_start import WarmStart
from pipelines.train.worker import Worker
from ssl_core.build import build_chains
from ssl_core.catalog import find
from ssl_core.methods.base import Method

WRITER = ".writer"
PATIENCE_S = 120
"""For a predecessor to end: one whose head has died looks for it for a minute before it gives up."""
LONG_WAIT_S = 120.0


TrainHere = Callable[[RunConfig, Worker], None]
"""What one worker does: as a rule `train_here`."""


def work(given: dict[str, Any], train: TrainHere | None = None) -> None:
    """Train until done, stopped or failed; all paths are absolute, since Ray changes the folder.

    An error that a restart cannot cure is left in the stage's folder, where the driver and every other worker finds it.
    """
    config, shards, folder = parse(given["config"]), ShardSet.model_validate(given["shards"]), Path(given["folder"])
    _shared(folder, shards.folder / manifest.NAME)
    if (folder / FAILURE).exists():
        return
    context = ray.train.get_context()
    worker = Worker(context.get_world_rank(), context.get_world_size(), get_device(), folder)
    torch.set_num_threads(config.train.threads or max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    try:
        with _sole_writer(worker):
            if train:
                train(config, worker)
            else:
                train_here(config, shards, worker, begin=WarmStart(**given["begin"]) if given.get("begin") else None)
    except Interrupted:
        return  # the checkpoint says how far it came
    except UserError as error:
        text = str(getattr(error, "cause", error))  # from a read task it comes wrapped by Ray
        if isinstance(error, Diverged):
            (folder / DIVERGED).touch()
        try:
            write_text(folder / FAILURE, text)
        except OSError:
            raise error from None  # a full disk: Ray carries it to the driver
        if worker.size > 1:
            raise  # the others may be waiting for this one; after the restart all find FAILURE and end


def _shared(*paths: Path) -> None:
    """Whether this node sees what the driver made; it may have come long after the nodes were asked.

    Raises:
        UserError: it does not; Ray may find another node for the next try.
    """
    if missing := [path for path in paths if not path.exists()]:
        node = f"{ray.util.get_node_ip_address()} ({platform.node()})"
        raise UserError(f"storage: {missing[0]} is not there on node {node}; mount the storage on all nodes")


def _sole_writer(worker: Worker) -> AbstractContextManager[None]:
    """Rank 0 writes alone: one whose controller or node has died may still be ending."""
    return lock.alone(worker.folder / WRITER, PATIENCE_S) if worker.rank == 0 else nullcontext()


def train_here(
    config: RunConfig,
    shards: ShardSet,
    worker: Worker,
    look: Callable[[Method], dict[str, float]] | None = None,
    milestones: Collection[int] = (),
    begin: WarmStart | None = None,
    around: Callable[[Iterator[Arrays]], Iterator[Arrays]] = iter,
) -> None:
    """This worker's part of a pre-training, in this process.

    Args:
        look: takes the place of the usual monitor; as there, for those who look.
        milestones: steps at which it looks and a checkpoint is saved.
        begin: of fine-tuning.
        around: passes the batches on, as a rehearsal does, which times the steps there.
    """
    _set_up(config)
    config = settled(config, worker)
    if worker.rank == 0:
        how = f"{config.train.precision}, {torch.get_num_threads()} threads each"
        how += ", sharded" if worker.holds_shares(config.train) else ""
        if ray.is_initialized():  # where it was planned is not where it came
            how += f"; rank 0 on {ray.util.get_node_ip_address()}/{ray.get_runtime_context().get_node_id()[:6]}"
        outbox.note(worker.folder, f"workers: {worker.size} on {worker.device.type}, {how}")
    listing = manifest.load(shards.folder)
    labels = manifest.labels(shards.folder, listing, "train")
    reads_class = find("ssl_core.methods", config.method.name).reads == "class"
    if reads_class and labels is None:
        raise UserError(f"method {config.method.name} reads labels; the source has none (source.labels)")

    def open_batches(start: int, stop: int) -> Iterator[Arrays]:
        place = shards.folder, listing, worker.rank, worker.size
        return with_wait_warnings(around(training_batches(config, *place, start, stop, worker.folder)), worker.folder)

    order = training_order(config, listing)
    monitor = look or usual_monitor(config, shards, listing, labels, worker)
    train(config, worker, order, open_batches, monitor, labels if reads_class else None, milestones, begin)


def _set_up(config: RunConfig) -> None:
    """This process, for training."""
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    # each launch of a GPU kernel lets go of the GIL; Ray's threads beside would keep it for 5 ms each time
    sys.setswitchinterval(5e-4)
    torch.backends.cudnn.benchmark = True  # views have one size: what is measured at the first step holds for all
    session.data_context(config.data.cpus)


def with_wait_warnings(batches: Iterator[Arrays], folder: Path) -> Iterator[Arrays]:
    """Pass batches on; a wait so long that something is wrong is said, over and over, and does not end the run."""
    since: float | None = None

    def look() -> None:
        if since is not None and time.monotonic() - since > LONG_WAIT_S:
            waited = f"{time.monotonic() - since:.0f} s"
            outbox.note(folder, f"waiting for data for {waited}: is a read stuck, or no CPU left for readers?")

    with repeating(LONG_WAIT_S / 2, look):
        while True:
            since = time.monotonic()
            batch = next(batches, None)
            since = None
            if batch is None:
                return
            yield batch


def is_looking(config: RunConfig, worker: Worker) -> bool:
    """Whether this worker looks at the representation: rank 0, or all where none of them has an encoder of its own."""
    return worker.rank == 0 or worker.holds_shares(config.train)


def usual_monitor(
    config: RunConfig, shards: ShardSet, listing: Manifest, labels: Mapping[int, int] | None, worker: Worker
) -> Monitor | None:
    if not is_looking(config, worker) or not config.train.monitor_samples:
        return None
    chains = build_chains(config.views)
    view = find("ssl_core.methods", config.method.name).kinds(config.method)[0]
    looked_at = ("eval", view, view)
    arrays = some_rows(config, shards.folder, listing, "train", config.train.monitor_samples, looked_at)
    return Monitor(arrays, [chains[kind] for kind in looked_at], labels, worker.device, config.seed)
