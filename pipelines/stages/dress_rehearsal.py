"""Some seconds of the training itself, with all its workers and readers: what no sum of parts foresees.

Workers wait for each other's gradients and statistics, Ray's threads share a processor with the steps, and several
processes a machine. The run is in a folder of its own beside the shards, tracks nothing, and leaves nothing behind.
"""

import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import outbox
from pipelines.artifacts import ShardSet
from pipelines.config import RunConfig
from pipelines.outbox import Point
from pipelines.stages import pretrain
from pipelines.worker import STOP

SECONDS = 6.0
"""Of steps, after the first point."""
PATIENCE_S = 300
POINT_S = 0.5
"""Between two points, about: the first one ends the warm-up, and a run stops at one."""


def seconds_per_step(config: RunConfig, shards: ShardSet, use_gpu: bool, step_s: float) -> float | None:
    """
    Args:
        step_s: about what a step takes.
    Returns: None: too few steps for a measurement, or it did not come that far in PATIENCE_S.
    """
    every = max(1, min(config.train.log_every, round(POINT_S / step_s)))
    alone = {"log_every": every, "monitor_samples": 0, "max_failures": 0}
    short = config.model_copy(update={"train": config.train.model_copy(update=alone)})
    with TemporaryDirectory(dir=shards.folder.parent, prefix=".rehearsal-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        failures: list[Exception] = []

        def fit() -> None:
            try:
                pretrain.fit(short, shards, folder, use_gpu)
            except Exception as error:  # handed to the thread that waits
                failures.append(error)

        running = threading.Thread(target=fit, daemon=True)
        running.start()
        deadline = time.monotonic() + PATIENCE_S
        while running.is_alive() and time.monotonic() < deadline and _span(_points(folder)) < SECONDS:
            running.join(0.2)
        (folder / STOP).touch()
        running.join(PATIENCE_S)
        points = _points(folder)
    if failures:
        raise failures[0]
    return _span(points) / (points[-1].step - points[0].step) if len(points) > 1 else None


def _points(folder: Path) -> list[Point]:
    return [point for point in outbox.read(folder) if "loss" in point.metrics]


def _span(points: list[Point]) -> float:
    """Seconds from the first to the last."""
    return (points[-1].time - points[0].time) / 1000 if points else 0.0
