"""How much of a training step goes by waiting for data: `python -m tests.benchmarks wait`.

The pretrain stage itself, one Ray Train worker and one CPU for its data, SimCLR with the full augmentation. The share
is that of all steps together, over several blocks and the end of an epoch, by what the training loop logs at every
step; the first steps, in which the pipeline fills, are shown apart.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from pipelines.runtime import session
from pipelines.storage import outbox
from pipelines.train import pretrain
from tests.benchmarks.corpus import image_files, ingested, simclr
from tests.benchmarks.runner import Outcome, Row, goal, spread

FILLING = 2
"""Steps left out of the share."""


class Case(NamedTuple):
    name: str
    size: int
    height: int
    width: int
    channels: int
    """Width of the ResNet-18."""
    files: int
    """Fewer than the steps take: an epoch ends on the way."""
    batch: int
    steps: int
    block_mb: int
    """So that there are five blocks or more."""


CASES = [
    Case("ResNet-18, 32 px", 32, 32, 32, 64, 512, 64, 14, 1),
    Case("ResNet-18 of width 16, 32 px", 32, 32, 32, 16, 4096, 256, 30, 4),
    Case("ResNet-18, 224 px", 224, 375, 500, 64, 192, 32, 10, 16),
]
TINY = [Case("ResNet-18 of width 4, 32 px", 32, 32, 32, 4, 64, 16, 6, 1)]


def run(quick: bool = False) -> Outcome:
    rows: list[Row] = []
    goals: list[Row] = []
    for case in TINY if quick else CASES:
        with TemporaryDirectory() as name:
            folder = Path(name)
            image_files(folder / "files", case.files, case.height, case.width)
            changes = {"train.steps": case.steps, "encoder.width": case.channels, "data.block_mb": case.block_mb}
            config = simclr(folder / "files", folder, case.size, case.batch, changes)
            shards = ingested(config, folder / "shards")
            stage = folder / "pretrain"
            stage.mkdir()
            pretrain.run(config, shards, stage)
            points = [point.metrics for point in outbox.read(stage) if "data_wait" in point.metrics]
        seconds = [case.batch / point["samples_per_s"] for point in points]
        waited = [point["data_wait"] * took for point, took in zip(points, seconds, strict=True)]
        wait = spread([100 * sum(waited[FILLING:]) / sum(seconds[FILLING:])])
        rows.append(
            {
                "model": case.name,
                "images a step": case.batch,
                "steps an epoch": case.files // case.batch,
                "seconds a step": spread(seconds[FILLING:]),
                "% of it waiting": wait,
                "longest wait, s": max(waited[FILLING:]),
                "seconds waited in the first steps": sum(waited[:FILLING]),
            }
        )
        goals.append(goal(f"a training step waits for data, {case.name}: % of its time", wait, at_most=2))
    session.close()
    return Outcome({"Training steps on this machine": rows}, goals)
