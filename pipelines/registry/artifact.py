"""The artifact of registration: a model version in MLflow."""

from pipelines.evaluate.artifact import ProbeReport
from pipelines.stage import Artifact


class ModelVersion(Artifact):
    report: ProbeReport
    name: str
    version: int
    alias: str
    uri: str
