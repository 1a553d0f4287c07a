"""What the stages hand over: small records of what lies in a folder, found by content."""

from pathlib import Path

from pipelines.report import Scores
from ssl_core.config import Config


class Artifact(Config):
    digest: str
    """Hash of the content; the next stage is keyed by it, not by where the folder lies."""


class Nothing(Artifact):
    """What the first stage is given."""

    digest: str = ""


class ShardSet(Artifact):
    folder: Path
    """Holds manifest.json; see pipelines/manifest.py."""
    num_train: int
    num_test: int
    num_classes: int | None
    """None when the source has no labels."""
    num_quarantined: int
    num_duplicates: int


class Checkpoint(Artifact):
    shards: ShardSet
    folder: Path
    """Holds method.safetensors, optimizer.safetensors and state.json; see pipelines/checkpoint.py.

    For a model that is only evaluated: the packed encoder, see pipelines/model/loader.py.
    """
    step: int


class ProbeReport(Artifact):
    checkpoint: Checkpoint
    folder: Path
    scores: Scores
    verdict: str
    """One line: what a reviewer sees in MLflow's list of versions."""


class ModelVersion(Artifact):
    report: ProbeReport
    name: str
    version: int
    alias: str
    uri: str
