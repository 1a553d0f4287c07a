"""How much of a training step goes by waiting for data: `python -m tests.benchmarks wait`.

The pretrain stage itself, one Ray Train worker and one CPU for its data, SimCLR with the full augmentation. `data_wait`
is what the training loop logs at every step; the first steps, in which the pipeline fills, are shown apart.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from pipelines import outbox
from pipelines.stages import engine, pretrain
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
    batch: int
    steps: int


CASES = [
    Case("ResNet-18, 32 px", 32, 32, 32, 64, 1024, 64, 6),
    Case("ResNet-18 of width 16, 32 px", 32, 32, 32, 16, 16_384, 256, 24),
    Case("ResNet-18, 224 px", 224, 375, 500, 64, 256, 32, 6),
]
TINY = [Case("ResNet-18 of width 4, 32 px", 32, 32, 32, 4, 128, 16, 4)]


def run(quick: bool = False) -> Outcome:
    rows: list[Row] = []
    goals: list[Row] = []
    for case in TINY if quick else CASES:
        with TemporaryDirectory() as name:
            folder = Path(name)
            image_files(folder / "files", case.files, case.height, case.width)
            changes = {"train.steps": case.steps, "encoder.width": case.channels}
            config = simclr(folder / "files", folder, case.size, case.batch, changes)
            shards = ingested(config, folder / "shards")
            stage = folder / "pretrain"
            stage.mkdir()
            pretrain.run(config, shards, stage)
            points = [point.metrics for point in outbox.read(stage) if "data_wait" in point.metrics]
        wait = spread([100 * point["data_wait"] for point in points[FILLING:]])
        step = spread([case.batch / point["samples_per_s"] for point in points[FILLING:]])
        filling = sum(p["data_wait"] * case.batch / p["samples_per_s"] for p in points[:FILLING])
        rows.append(
            {
                "model": case.name,
                "images a step": case.batch,
                "seconds a step": step,
                "% of it waiting": wait,
                "seconds waited in the first steps": filling,
            }
        )
        goals.append(goal(f"a training step waits for data, {case.name}: % of its time", wait, at_most=2))
    engine.close()
    return Outcome({"Training steps on this machine": rows}, goals)
