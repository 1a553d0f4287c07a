"""Folders of shards as data sets of MLflow's runs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST_LENGTH = 36
"""Characters that MLflow takes of a data set's digest."""


class DatasetSummary(NamedTuple):
    """What MLflow is told of a folder of shards."""

    name: str
    digest: str
    counts: dict[str, int]


def dataset(folder: Path, described: DatasetSummary) -> Any:
    """A folder of shards as an `mlflow.entities.Dataset`."""
    from mlflow.entities import Dataset

    return Dataset(
        name=described.name,
        digest=described.digest[:DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": folder.resolve().as_uri()}),
        profile=json.dumps(described.counts),
    )


def log_dataset(client: "MlflowClient", run_id: str, data: Any, context: str = "pre-training") -> None:
    from mlflow.entities import DatasetInput, InputTag

    client.log_inputs(run_id, datasets=[DatasetInput(data, [InputTag("mlflow.data.context", context)])])
