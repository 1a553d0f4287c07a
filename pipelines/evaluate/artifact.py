"""The artifact of evaluation: scores, and the folder of their report."""

from pathlib import Path

from pipelines.evaluate.scoring.scores import Scores
from pipelines.stage import Artifact
from pipelines.train.artifact import Checkpoint


class ProbeReport(Artifact):
    checkpoint: Checkpoint
    folder: Path
    scores: Scores
    verdict: str
    """One line: what a reviewer sees in MLflow's list of versions."""
