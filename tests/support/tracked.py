"""What tests of tracking write into a stage's folder, and what they then find in MLflow."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipelines.config.parse import load
from pipelines.config.run import RunConfig
from pipelines.storage import outbox
from pipelines.tracking.server import connect, storage


def recipe(root: Path, name: str, **changes: Any) -> RunConfig:
    return load("digits", {"name": name, "storage": str(root), **changes})


def stage_folder(root: Path, name: str = "pretrain") -> Path:
    folder = root / name / "0123456789abcdef"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log(folder: Path, steps: Iterable[int], *, final: bool = False) -> None:
    for step in steps:
        outbox.append(folder, step=step, total=100, metrics={"loss": step / 2}, final=final)


def runs(config: RunConfig, root: Path) -> tuple[list[Any], list[Any]]:
    """(parents, children), newest first."""
    client = connect(storage(config, root))
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    mine = [run for run in found if run.data.params.get("name") == config.name]
    ids = {run.info.run_id for run in mine}
    return mine, [run for run in found if run.data.tags.get("mlflow.parentRunId") in ids]


def history(config: RunConfig, root: Path, run: Any, metric: str = "loss") -> list[tuple[int, float, int]]:
    points = connect(storage(config, root)).get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value, point.timestamp) for point in points)


def written(folder: Path) -> list[tuple[int, float, int]]:
    return [(p.step, p.metrics["loss"], p.time) for p in outbox.read(folder) if "loss" in p.metrics]


def files(config: RunConfig, root: Path, run: Any, path: str | None = None) -> list[str]:
    return [file.path for file in connect(storage(config, root)).list_artifacts(run.info.run_id, path)]
