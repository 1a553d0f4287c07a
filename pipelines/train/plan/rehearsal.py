"""Some seconds of the training itself, with all its workers and readers: what no sum of parts foresees.

Workers wait for each other's gradients and statistics, Ray's threads share a processor with the steps, and several
processes a machine. The run is in a folder of its own beside the shards, tracks nothing, and leaves nothing behind.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.config.run import RunConfig
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.runtime.background import Aside
from pipelines.storage import outbox
from pipelines.storage.outbox import Point
from pipelines.storage.signals import FAILURE, STOP
from pipelines.train import pretrain

SECONDS = 6.0
"""Of steps, after the first point."""
PATIENCE_S = 300
POINT_S = 0.5
"""Between two points, about: the first one ends the warm-up, and a run stops at one."""


def seconds_per_step(config: RunConfig, shards: ShardSet, use_gpu: bool, step_s: float) -> float | None:
    """
    Args:
        step_s: about what a step takes.
    Returns: None: the whole run has too few steps for a measurement.
    Raises:
        UserError: training fails, or does not come so far in PATIENCE_S.
    """
    every = max(1, min(config.train.log_every, round(POINT_S / step_s)))
    alone = {"log_every": every, "monitor_samples": 0, "max_failures": 0}
    short = config.model_copy(update={"train": config.train.model_copy(update=alone)})
    with TemporaryDirectory(dir=shards.folder.parent, prefix=".rehearsal-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        training = Aside(lambda: pretrain.fit(short, shards, folder, use_gpu))
        deadline = time.monotonic() + PATIENCE_S
        while not training.ended(0.2) and time.monotonic() < deadline and _span(_points(folder)) < SECONDS:
            pass
        (folder / STOP).touch()
        if not training.ended(PATIENCE_S):
            raise UserError(
                f"plan: all together took no steps in {PATIENCE_S} s; is the cluster busy? see `ray status`"
            )
        points = _points(folder)
        if (folder / FAILURE).exists():
            raise UserError(f"plan: all together: {(folder / FAILURE).read_text()}")
    if training.failure:
        raise UserError(f"plan: all together: {pretrain.reason(training.failure)}") from training.failure
    return _span(points) / (points[-1].step - points[0].step) if len(points) > 1 else None


def _points(folder: Path) -> list[Point]:
    return [point for point in outbox.read(folder) if "loss" in point.metrics]


def _span(points: list[Point]) -> float:
    """Seconds from the first to the last."""
    return (points[-1].time - points[0].time) / 1000 if points else 0.0
