"""The pipeline on one screen: raw files in, registered candidate out."""

from pathlib import Path
from typing import Literal

from pipelines import tracking
from pipelines.artifacts import Artifact, ModelVersion, Nothing
from pipelines.config import RunConfig
from pipelines.stages.evaluate import EVALUATE
from pipelines.stages.ingest import INGEST
from pipelines.stages.pretrain import PRETRAIN
from pipelines.stages.register import REGISTER

Last = Literal["ingest", "pretrain", "evaluate", "register"]


def train_and_register(config: RunConfig, root: Path) -> ModelVersion:
    """Every stage is recorded under `root`: what is done is reused, what was interrupted goes on."""
    with tracking.run(config, root):
        shards = INGEST(config, Nothing(), root)
        checkpoint = PRETRAIN(config, shards, root)
        report = EVALUATE(config, checkpoint, root)
        return REGISTER(config, report, root)


def up_to(last: Last, config: RunConfig, root: Path) -> Artifact:
    """The same line, stopped after stage `last`."""
    if last == "register":
        return train_and_register(config, root)
    with tracking.run(config, root):
        shards = INGEST(config, Nothing(), root)
        if last == "ingest":
            return shards
        checkpoint = PRETRAIN(config, shards, root)
        return checkpoint if last == "pretrain" else EVALUATE(config, checkpoint, root)
