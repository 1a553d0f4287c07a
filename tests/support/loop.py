"""The training loop without Ray, on seeded pictures."""

from pathlib import Path

import numpy as np
import torch

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.batches.order import Order
from pipelines.storage import checkpoint, outbox
from pipelines.train.loop import Monitor, train
from pipelines.train.worker import Worker
from tests.support.recipe import TREE

EXACT: dict[str, object] = {"train.precision": "fp32"}
"""bf16 rounds differently when a batch is split differently, so splits are compared in fp32, whatever the CPU has."""
ROWS = np.full(5, 17)  # rows of each row group: 85 rows, so 5 global batches of 16 an epoch and 5 rows left over


def order_of(config: RunConfig) -> Order:
    return Order(ROWS, "ab" * 32, config.seed, config.data.shuffle_rows, config.train.global_batch_size)


def batches(config: RunConfig, rank: int = 0, size: int = 1):
    """Seeded pictures: the global batch of step s is a function of s alone."""
    share = config.train.global_batch_size // size

    def open_batches(start: int, stop: int):
        for step in range(start, stop):
            draw = np.random.default_rng(step)
            ids = np.arange(step * 16, (step + 1) * 16)[rank * share : (rank + 1) * share]
            views = draw.integers(0, 256, (2, 16, 8, 8, 3), dtype=np.uint8)[:, rank * share : (rank + 1) * share]
            both = {"sample_id": ids, "planned_id": ids}
            yield {**both, "view0": np.ascontiguousarray(views[0]), "view1": np.ascontiguousarray(views[1])}

    return open_batches


def run(
    folder: Path,
    changes: dict[str, object] | None = None,
    rank: int = 0,
    size: int = 1,
    monitor: Monitor | None = None,
) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    config = parse(TREE, EXACT | (changes or {}))
    worker = Worker(rank, size, torch.device("cpu"), folder)
    return train(config, worker, order_of(config), batches(config, rank, size), monitor)


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(point.step, point.metrics["loss"]) for point in outbox.read(folder)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    path, _ = checkpoint.latest(folder / "checkpoints")
    assert path is not None
    return load_file(path / checkpoint.METHOD)
