"""The pipeline on one screen: raw files in, registered candidate out."""

from pathlib import Path
from typing import Literal

from pipelines.config.flat import fingerprint
from pipelines.config.run import RunConfig
from pipelines.data.ingest import INGEST
from pipelines.data.shards import manifest
from pipelines.data.tokenizer_stage import with_tokenizers
from pipelines.errors import UserError
from pipelines.evaluate.any_model import EvaluationConfig, shards_at
from pipelines.evaluate.artifact import ProbeReport
from pipelines.evaluate.evaluate import EVALUATE, EVALUATE_MODEL, check
from pipelines.model.resolve import ResolvedModel
from pipelines.registry.artifact import ModelVersion
from pipelines.registry.register import REGISTER
from pipelines.stage import Artifact, Nothing
from pipelines.tracking import runs
from pipelines.train.artifact import Checkpoint
from pipelines.train.pretrain import PRETRAIN

Last = Literal["ingest", "pretrain", "evaluate", "register"]


def train_and_register(config: RunConfig, root: Path) -> ModelVersion:
    """Every stage is recorded under `root`: what is done is reused, what was interrupted goes on."""
    with runs.run(config, root):
        shards = INGEST(config, Nothing(), root)
        check(shards)
        config = with_tokenizers(config, shards, root)
        checkpoint = PRETRAIN(config, shards, root)
        report = EVALUATE(config, checkpoint, root)
        return REGISTER(config, report, root)


def up_to(last: Last, config: RunConfig, root: Path) -> Artifact:
    """The same line, stopped after stage `last`."""
    if last == "register":
        return train_and_register(config, root)
    with runs.run(config, root):
        shards = INGEST(config, Nothing(), root)
        if last == "ingest":
            return shards
        if last == "evaluate":
            check(shards)
        config = with_tokenizers(config, shards, root)
        checkpoint = PRETRAIN(config, shards, root)
        return checkpoint if last == "pretrain" else EVALUATE(config, checkpoint, root)


def evaluate_model(config: EvaluationConfig, model: ResolvedModel, root: Path) -> ProbeReport:
    """Any encoder on any data; its MLflow run says by tags which model it scored."""
    with runs.run(config, root):
        runs.tag(model.tags)
        if shards := shards_at(config.on):
            runs.scored_on(shards.folder, manifest.load(shards.folder).summary())
        else:
            shards = INGEST(config, Nothing(), root)
        if not (shards.num_train and shards.num_test):
            raise UserError(
                f"--on: {config.on}: {shards.num_train} train and {shards.num_test} test samples; probes need both: "
                "bring more data, or change ingest.test_fraction"
            )
        given = Checkpoint(
            digest=fingerprint([model.card.sha256, shards.digest]), shards=shards, folder=model.folder, step=0
        )
        return EVALUATE_MODEL(config, given, root)
