"""Mirrors to MLflow what stages write into their folders: the only place that logs params, metrics and artifacts.

One parent run per `run`, one child run per stage. The driver alone talks to MLflow: workers append to
the outbox of their stage (pipelines/storage/outbox.py), a thread ships it (pipelines/tracking/shipping.py). When the
server is away the run goes on, and what did not arrive is shipped by the next run of the same config.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipelines.config.flat import flat
from pipelines.config.run import SetupConfig, identity
from pipelines.errors import Interrupted, UserError
from pipelines.storage import outbox
from pipelines.tracking import attempts, children, datasets, provenance, view
from pipelines.tracking import server as store
from pipelines.tracking.attempts import Attempt
from pipelines.tracking.children import Child
from pipelines.tracking.datasets import DatasetSummary
from pipelines.tracking.server import Value, reached
from pipelines.tracking.shipping import Shipper, Unreachable

if TYPE_CHECKING:
    from mlflow import MlflowClient


PATIENCE_S = 10.0  # how long the end of a stage waits for a server that is away
SCORED = ("evaluate", "evaluations")
"""Stages whose scores belong on the parent run too."""

logger = logging.getLogger("selfray.tracking")


@dataclass
class Tracked:
    """The parent run that is going on."""

    client: "MlflowClient"
    uri: str
    experiment_id: str
    run_id: str
    unfinished: list["_Mirror"] = field(default_factory=list)
    """Stages that ended while the server was away."""


@dataclass
class _Mirror:
    """One stage of a tracked run."""

    tracked: Tracked
    name: str
    folder: Path
    shipper: Shipper
    dataset: Callable[[Path], DatasetSummary] | None
    status: str = "FAILED"


_inside: ContextVar[bool] = ContextVar("inside a run", default=False)
_current: ContextVar[Tracked | None] = ContextVar("tracked run", default=None)


@contextmanager
def run(config: SetupConfig, root: Path, campaign: str = "") -> Iterator[None]:
    """The parent run of everything inside; it goes on with the last run of this config if that did not finish.

    Args:
        campaign: hash of the tuning campaign that the run is the parent of, instead of one training.
    Raises:
        UserError: the server is unreachable and `tracking.when_unreachable` is `error`.
    """
    tracked = _begin_or_explain(config, root, campaign)
    tokens = _inside.set(True), _current.set(tracked)
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, Interrupted):
        status = "KILLED"
        raise
    finally:
        _inside.reset(tokens[0])
        _current.reset(tokens[1])
        if tracked:
            _end(tracked, status)


@contextmanager
def stage_run(
    config: SetupConfig,
    root: Path,
    name: str,
    folder: Path,
    *,
    reused: bool,
    dataset: Callable[[Path], DatasetSummary] | None = None,
) -> Iterator[None]:
    """The child run that mirrors a stage's folder: points as they are committed, `report/` and status at the end.

    A reused stage gets no new run while its own is still on the server, only a tag on the parent.
    Outside of `run` this opens a parent run of its own.

    Args:
        dataset: describes the data set that the finished folder holds; it is logged on the parent run too.
    """
    if not _inside.get():
        with run(config, root), stage_run(config, root, name, folder, reused=reused, dataset=dataset):
            yield
        return
    tracked = _current.get()
    if tracked is None:  # the server was unreachable at the start: everything stays in the folder
        yield
        return
    go_on = store.has_run if reused else None
    shipper = children.shipper(tracked, Child(folder, stage=name, title=name), go_on=go_on)
    mirror = _Mirror(tracked, name, folder, shipper, dataset)
    mirror.shipper.start()
    try:
        yield
        outbox.finish(folder)
        mirror.status = "FINISHED"
    except (KeyboardInterrupt, Interrupted):
        mirror.status = "KILLED"
        raise
    finally:
        try:
            _finish(mirror, PATIENCE_S)
        except Unreachable as error:
            tracked.unfinished.append(mirror)
            logger.warning("tracking: %s; the rest of stage %s is kept in %s", error, name, folder)


def current() -> Tracked:
    """The run that is going on; the registry needs it.

    Raises:
        UserError: the server was unreachable when the run began.
    """
    tracked = _current.get()
    if tracked is None:
        raise UserError("tracking.uri: unreachable; what is done is kept, run the same again when the server answers")
    return tracked


def tag(tags: Mapping[str, str]) -> None:
    """Put tags on the run that is going on; without a server there is none."""
    if tracked := _current.get():
        with reached():
            for key, value in tags.items():
                tracked.client.set_tag(tracked.run_id, key, value)


def scored_on(shards: Path, summary: DatasetSummary) -> None:
    """Log a folder of shards as the data of the run that is going on, which no ingest of it has made."""
    if tracked := _current.get():
        with reached():
            data = datasets.dataset(shards, summary)
            datasets.log_dataset(tracked.client, tracked.run_id, data, "evaluation")


def final_scores(folder: Path) -> list[Value]:
    """The last value of every metric that a stage logged."""
    values = (Value(name, p.time, p.step, value) for p in outbox.read(folder) for name, value in p.metrics.items())
    return list({value.name: value for value in values}.values())


def _begin_or_explain(config: SetupConfig, root: Path, campaign: str) -> Tracked | None:
    embedded = config.tracking.uri is None
    try:
        return _begin(config, root, campaign)
    except Unreachable as error:
        key = "storage" if embedded else "tracking.uri"
        problem = f"{key}: {store.shown(store.storage(config, root))}: unreachable ({error})"
        if embedded:
            raise UserError(problem) from None
        if config.tracking.when_unreachable == "error":
            raise UserError(f"{problem}; start it, or set tracking.when_unreachable=outbox") from None
        logger.warning("%s; everything is kept in %s, the next run of this config ships it", problem, root)
        return None


def _begin(config: SetupConfig, root: Path, campaign: str) -> Tracked:
    if config.tracking.uri is None:
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"storage: {root}: cannot be made ({error.strerror})") from None
        if not os.access(root, os.W_OK):
            raise UserError(f"storage: {root}: not writable")
    uri = store.storage(config, root)
    client, attempt = store.connect(uri), attempts.now()
    with reached():
        experiment_id = _experiment(client, config, root)
        key = campaign or identity(config)
        found = client.search_runs([experiment_id], f"tags.`selfray.identity` = '{key}'", max_results=1)
        if found and (campaign or found[0].info.status != "FINISHED"):  # a campaign may grow
            run_id = found[0].info.run_id
            client.update_run(run_id, status="RUNNING")
            number = attempts.number_of(attempt, found[0].data.tags)
            restarts = int(found[0].data.tags.get("selfray.restarts", 0)) + 1
            for name, value in {"selfray.restarts": str(restarts), **attempt.tags(number)}.items():
                client.set_tag(run_id, name, value)
        else:
            number, tags, name = 1, _tags(key, attempt), config.name
            if campaign:
                tags, name = {**tags, "selfray.campaign": campaign}, f"{name} campaign"
            run_id = client.create_run(experiment_id, tags=tags, run_name=name).info.run_id
        _describe(client, run_id, config, attempt.files(number))
        return Tracked(client, uri, experiment_id, run_id)


def _experiment(client: "MlflowClient", config: SetupConfig, root: Path) -> str:
    from mlflow.exceptions import MlflowException

    name = config.tracking.experiment
    if (experiment := client.get_experiment_by_name(name)) is None:
        place = store.artifact_root(root) if config.tracking.uri is None else None
        kind = {"mlflow.experimentKind": "custom_model_development"}  # runs and models first, not chat traces
        try:
            return str(client.create_experiment(name, artifact_location=place, tags=kind))
        except MlflowException:
            if (experiment := client.get_experiment_by_name(name)) is None:  # else another command has just made it
                raise
    if experiment.lifecycle_stage != "active":
        raise UserError(f"tracking.experiment: {name} was deleted in MLflow; restore it or choose another name")
    return str(experiment.experiment_id)


def _tags(key: str, attempt: Attempt) -> dict[str, str]:
    ours = {"selfray.identity": key, "mlflow.user": provenance.user(), **attempt.tags(1)}
    if attempt.commit.commit:
        ours["mlflow.source.git.commit"] = attempt.commit.commit
    return {**store.context_tags(), **ours}


def _describe(client: "MlflowClient", run_id: str, config: SetupConfig, attempted: Mapping[str, str]) -> None:
    """Params, the whole YAML, and of this attempt the uncommitted changes and the machine."""
    store.log_params(client, run_id, flat(config))
    client.log_text(run_id, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), "config.yaml")
    for name, text in attempted.items():
        client.log_text(run_id, text, name)


def _finish(mirror: _Mirror, patience_s: float) -> None:
    """Ship the rest, upload what reviewers look at, set the status; may be called again after Unreachable."""
    tracked, folder, client = mirror.tracked, mirror.folder, mirror.tracked.client
    run_id = mirror.shipper.close(patience_s)
    with reached(store.UPLOAD_TIMEOUT_S):
        if not mirror.shipper.done:
            _upload(client, run_id, folder)
            client.set_terminated(run_id, mirror.status)
        if mirror.status != "FINISHED":
            return
        if client.get_run(run_id).data.tags.get("mlflow.parentRunId") != tracked.run_id:
            client.set_tag(tracked.run_id, f"selfray.reused.{mirror.name}", folder.name)
        if mirror.name in SCORED:
            store.log_values(client, tracked.run_id, scores := final_scores(folder))
            view.scored(client, tracked.run_id, folder / "report", scores)
            _upload(client, tracked.run_id, folder)
        if mirror.dataset:
            data = datasets.dataset(folder, mirror.dataset(folder))
            for owner in (tracked.run_id, run_id):
                datasets.log_dataset(client, owner, data)
    mirror.shipper.mark_done()


def _upload(client: "MlflowClient", run_id: str, folder: Path) -> None:
    if (folder / "report").is_dir():
        client.log_artifacts(run_id, str(folder / "report"), "report")
    if (folder / outbox.NOTES).exists():
        client.log_artifact(run_id, str(folder / outbox.NOTES))


def _end(tracked: Tracked, status: str) -> None:
    try:
        for mirror in tracked.unfinished:
            _finish(mirror, patience_s=0)
        with reached():
            tracked.client.set_terminated(tracked.run_id, status)
    except Unreachable as error:
        logger.warning("tracking: %s; nothing is lost, the next run of the same config ships the rest", error)
