"""What a pre-training will need and take, from its config, the manifest and a rehearsal's measurements; free of Ray.

A step takes what it took when all rehearsed together. Where they could not, as long as the slowest of three: the
arithmetic of a worker, the readers that feed it, and the processors of a machine that both share; how long gradients
travel is not foreseen then. What other programs do meanwhile never is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.config.run import RunConfig
from pipelines.data.batches.order import Order
from pipelines.data.shards.manifest import Manifest
from pipelines.runtime.placement import Node, Placement, placement, placement_rows
from pipelines.tracking.display import clock

BLOCK_S = 0.04
"""CPU seconds that Ray Data adds to a block, over all its processes (measured: 20-40 ms; docs/scale.md)."""
START_S = 19
"""From the command to the end of the first step: the median of tests/benchmarks/bench.json, startup, on two cores (4 s
of imports, 6 of Ray, 6 of Ray Train's worker, 3 until the first batch), with bytecode at hand as after `make env`.
Fixed, since a rehearsal sees none of it: its Ray is up already, and its tasks are no workers of Ray Train."""
RAY_DATA_SHARE = 0.5
"""Of the object store, which Ray Data takes by default (DEFAULT_OBJECT_STORE_MEMORY_LIMIT_FRACTION)."""
CONSUMED_BYTES = 20
"""Of consumption.jsonl, per step."""


@dataclass(frozen=True)
class Measured:
    """What the rehearsal saw: one worker's share of a global batch, one reader, one process of each."""

    share: int
    """Samples of a step on one worker."""
    step_s: float
    step_cpu_s: float
    sample_s: float
    """Of one reader, for reading, decoding and augmenting one sample."""
    sample_cpu_s: float
    sample_bytes: float
    """Read from the shards per sample trained on; more than its own where a block uses only parts of row groups."""
    block_rows: float
    block_bytes: float
    look_s: float
    """One look of the monitor."""
    save_s: float
    """One checkpoint."""
    checkpoint_bytes: int
    worker_bytes: int
    """Resident memory of a training process."""
    gpu_bytes: int
    reader_bytes: int
    cores: dict[str, int]
    """Processors of each machine, by address."""
    together_s: float | None = None
    """A step of all workers with their readers; None: there was no room for them, or the run is too short."""


class Row(NamedTuple):
    what: str
    value: str


class Pace(NamedTuple):
    """Seconds per step, were each of them alone."""

    step: float
    read: float
    processors: float

    @property
    def seconds(self) -> float:
        return max(self)

    @property
    def limit(self) -> str:
        return ("the step", "reading", "the processors that both share")[self.index(max(self))]


def pace(config: RunConfig, seen: Measured, nodes: Sequence[Node], placed: Placement) -> Pace:
    machine = {node.name: node.machine for node in nodes}
    batch = config.train.global_batch_size
    block_share = seen.share / seen.block_rows
    read = (seen.share * seen.sample_s + block_share * BLOCK_S) / config.data.cpus
    reading = batch * seen.sample_cpu_s + config.train.num_workers * block_share * BLOCK_S  # CPU seconds, all readers
    room = sum(placed.readers.values()) or 1
    busy: dict[str, float] = {}
    for name, count in placed.workers.items():
        busy[machine[name]] = busy.get(machine[name], 0.0) + count * seen.step_cpu_s
    for name, count in placed.readers.items():
        busy[machine[name]] = busy.get(machine[name], 0.0) + reading * count / room
    processors = max((seconds / seen.cores[where] for where, seconds in busy.items()), default=0.0)
    return Pace(seen.step_s, read, processors)


def seconds(config: RunConfig, seen: Measured, per_step: float, steps: int) -> float:
    """From the first step to the last: steps, and the monitor's looks and checkpoints, for which all wait."""
    train = config.train
    every = train.monitor_every or max(train.log_every, steps // 20)
    looks = -(-steps // every) if train.monitor_samples else 0
    stepping = steps * per_step + looks * seen.look_s
    return stepping + (1 + stepping // train.checkpoint_seconds) * seen.save_s


def rows(
    config: RunConfig, listing: Manifest, order: Order, seen: Measured, nodes: Sequence[Node], use_gpu: bool
) -> list[Row]:
    """The table that `selfray plan` prints."""
    train, steps = config.train, config.train.num_steps(order.batches_per_epoch)
    placed = placement(config, nodes, use_gpu)
    speed = pace(config, seen, nodes, placed)
    per_step = seen.together_s or speed.seconds
    took = seconds(config, seen, per_step, steps)
    batch = train.global_batch_size
    num_bytes = sum(file.num_bytes for file in (*listing.train, *listing.test))
    kept = 2 * seen.checkpoint_bytes
    store, need = sum(node.has("object_store_memory") for node in nodes), store_need(config, seen)
    ahead = store_filled(config, seen, nodes, steps)
    gpu = f", {size(seen.gpu_bytes)} of its GPU" if use_gpu else ""
    whole = " (rehearsed unsharded, an upper bound)" if train.parallel == "fsdp" and train.num_workers > 1 else ""
    return [
        Row(
            "samples", f"{order.num_rows} train, {listing.num_rows('test')} test, {listing.num_quarantined} quarantined"
        ),
        Row("shards", f"{len(listing.train)} train and {len(listing.test)} test files, {size(num_bytes)}"),
        Row("steps", f"{steps} of {batch} samples: {steps / order.batches_per_epoch:.4g} epochs"),
        *(Row(what, where) for what, where in placement_rows(config, placed, use_gpu).items()),
        Row(
            "samples/s",
            f"{batch / per_step:.0f}{'' if seen.together_s else ', not rehearsed together'}; alone, readers could give "
            f"{batch / speed.read:.0f} and steps take {batch / speed.step:.0f}; of these, what limits is {speed.limit}",
        ),
        Row("time", f"{clock(took)} of training, after the start ({START_S} s on two cores); evaluation is not in it"),
        Row("bytes read", f"{size(seen.sample_bytes * batch * steps)}, {size(seen.sample_bytes)} per sample"),
        Row("memory", f"{size(seen.worker_bytes)} per worker{gpu}{whole}, {size(seen.reader_bytes)} per reader"),
        Row(
            "object store",
            f"{size(need)} needed (blocks of {size(seen.block_bytes)}), at most {size(ahead)} filled ahead of "
            f"slower steps, {size(store)} there",
        ),
        Row("disk", f"{size(num_bytes)} of shards, {size(kept + CONSUMED_BYTES * steps)} of checkpoints and logs"),
    ]


def store_need(config: RunConfig, seen: Measured) -> float:
    """Bytes, so that nobody waits: per worker each reader makes one block while one waits, and two are being taken."""
    return config.train.num_workers * (2 * config.data.cpus + 2) * seen.block_bytes


def store_filled(config: RunConfig, seen: Measured, nodes: Sequence[Node], steps: int) -> float:
    """Bytes that readers which are faster than the steps fill at most: all there is, or what Ray Data allows them."""
    store, cpus = (sum(node.has(kind) for node in nodes) for kind in ("object_store_memory", "CPU"))
    executions = min(1.0, config.train.num_workers * (1 + config.data.cpus) / max(1, cpus))  # runtime/pacing.py
    return min(
        steps * config.train.global_batch_size * seen.block_bytes / seen.block_rows, RAY_DATA_SHARE * store * executions
    )


def size(num_bytes: float) -> str:
    power = 0
    while num_bytes >= 1000 and power < 4:
        num_bytes, power = num_bytes / 1000, power + 1
    return f"{num_bytes:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
