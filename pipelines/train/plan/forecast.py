"""What a pre-training will need and take, from its config, the manifest and what a rehearsal measured; free of Ray.

What other programs do meanwhile is not foreseen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.config.run import RunConfig
from pipelines.data.batches.order import Order
from pipelines.data.shards.manifest import Manifest
from pipelines.runtime.placement import Node, placement, placement_rows
from pipelines.tracking.display import clock

START_S = 19
"""From the command to the end of the first step: the median of tests/benchmarks/bench.json, startup, on two cores (4 s
of imports, 6 of Ray, 6 of Ray Train's worker, 3 until the first batch), with bytecode at hand as after `make env`.
Fixed: when a rehearsal begins, its Ray is up already and everything imported."""
RAY_DATA_SHARE = 0.5
"""Of the object store, which Ray Data takes by default (DEFAULT_OBJECT_STORE_MEMORY_LIMIT_FRACTION)."""
CONSUMED_BYTES = 20
"""Of consumption.jsonl, per step."""


@dataclass(frozen=True)
class Rehearsed:
    """What the rehearsal measured; of several workers, the one that took longest or most."""

    step_s: float
    data_wait: float
    """Share of the time in which a step waits for its batch, 0..1."""
    look_s: float
    """One look of the monitor; 0 without one."""
    save_s: float
    """One checkpoint."""
    checkpoint_bytes: int
    worker_bytes: int
    """Resident memory of a training process."""
    gpu_bytes: int
    reader_bytes: int
    """Resident memory of a reader."""
    sample_bytes: float
    """Read from the shards per sample trained on; more than its own where a block uses only parts of row groups."""
    block_rows: float
    block_bytes: float


class Row(NamedTuple):
    what: str
    value: str


def seconds(config: RunConfig, rehearsed: Rehearsed, steps: int) -> float:
    """From the first step to the last: steps, and the monitor's looks and checkpoints, for which all wait."""
    train = config.train
    every = train.monitor_every or max(train.log_every, steps // 20)
    looks = -(-steps // every) if train.monitor_samples else 0
    stepping = steps * rehearsed.step_s + looks * rehearsed.look_s
    return stepping + (1 + stepping // train.checkpoint_seconds) * rehearsed.save_s


def rows(
    config: RunConfig,
    listing: Manifest,
    order: Order,
    rehearsed: Rehearsed | None,
    nodes: Sequence[Node],
    use_gpu: bool,
) -> list[Row]:
    """The table that `selfray plan` prints.

    Args:
        rehearsed: None: there was no room, which the table then says in place of what was to be measured.
    """
    train, steps = config.train, config.train.num_steps(order.batches_per_epoch)
    num_bytes = sum(file.num_bytes for file in (*listing.train, *listing.test))
    placed = placement_rows(config, placement(config, nodes, use_gpu), use_gpu)
    known = [
        Row(
            "samples", f"{order.num_rows} train, {listing.num_rows('test')} test, {listing.num_quarantined} quarantined"
        ),
        Row("shards", f"{len(listing.train)} train and {len(listing.test)} test files, {size(num_bytes)}"),
        Row("steps", f"{steps} of {train.global_batch_size} samples: {steps / order.batches_per_epoch:.4g} epochs"),
        *(Row(what, where) for what, where in placed.items()),
    ]
    if rehearsed is None:
        lacking = "CPUs and GPUs" if use_gpu else "CPUs"
        text = f"no room to rehearse {train.num_workers} workers; free {lacking} or lower train.num_workers"
        return [*known, Row("time, memory", text)]
    return known + _measured(config, rehearsed, nodes, use_gpu, steps, num_bytes)


def _measured(
    config: RunConfig, rehearsed: Rehearsed, nodes: Sequence[Node], use_gpu: bool, steps: int, shard_bytes: int
) -> list[Row]:
    batch, took = config.train.global_batch_size, seconds(config, rehearsed, steps)
    store, need = sum(node.has("object_store_memory") for node in nodes), store_need(config, rehearsed)
    ahead = store_filled(config, rehearsed, nodes, steps)
    gpu = f", {size(rehearsed.gpu_bytes)} of its GPU" if use_gpu else ""
    kept = 2 * rehearsed.checkpoint_bytes + CONSUMED_BYTES * steps
    waits = f"{100 * rehearsed.data_wait:.2g} % of the time steps wait for data"
    return [
        Row("samples/s", f"{batch / rehearsed.step_s:.0f}; {waits}"),
        Row("time", f"{clock(took)} of training, after the start ({START_S} s on two cores); evaluation is not in it"),
        Row("bytes read", f"{size(rehearsed.sample_bytes * batch * steps)}, {size(rehearsed.sample_bytes)} per sample"),
        Row("memory", f"{size(rehearsed.worker_bytes)} per worker{gpu}, {size(rehearsed.reader_bytes)} per reader"),
        Row(
            "object store",
            f"{size(need)} needed (blocks of {size(rehearsed.block_bytes)}), at most {size(ahead)} filled ahead of "
            f"slower steps, {size(store)} there",
        ),
        Row("disk", f"{size(shard_bytes)} of shards, {size(kept)} of checkpoints and logs"),
    ]


def store_need(config: RunConfig, rehearsed: Rehearsed) -> float:
    """Bytes, so that nobody waits: per worker each reader makes one block while one waits, and two are being taken."""
    return config.train.num_workers * (2 * config.data.cpus + 2) * rehearsed.block_bytes


def store_filled(config: RunConfig, rehearsed: Rehearsed, nodes: Sequence[Node], steps: int) -> float:
    """Bytes that readers which are faster than the steps fill at most: all there is, or what Ray Data allows them."""
    store, cpus = (sum(node.has(kind) for node in nodes) for kind in ("object_store_memory", "CPU"))
    executions = min(1.0, config.train.num_workers * (1 + config.data.cpus) / max(1, cpus))  # runtime/pacing.py
    views = steps * config.train.global_batch_size * rehearsed.block_bytes / rehearsed.block_rows
    return min(views, RAY_DATA_SHARE * store * executions)


def size(num_bytes: float) -> str:
    power = 0
    while num_bytes >= 1000 and power < 4:
        num_bytes, power = num_bytes / 1000, power + 1
    return f"{num_bytes:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
