"""Where MLflow is and the calls made to it: quiet, with a short time-out, every failure an Unreachable."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from pipelines.config import secret
from pipelines.config.run import SetupConfig
from pipelines.config.sections import TrackingConfig
from pipelines.errors import UserError
from pipelines.tracking import database
from pipelines.tracking.server_errors import one_line
from pipelines.tracking.shipping import Unreachable

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # two processes instead of fifteen
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the shipping thread tries again by itself
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # a model that needs it is not one of ours
    "GIT_PYTHON_REFRESH": "quiet",
}
UPLOAD_TIMEOUT_S = 60


class Value(NamedTuple):
    """One number of one metric."""

    name: str
    time: int
    """Milliseconds since 1970."""
    step: int
    value: float


class Settings(Protocol):
    """A config, or the part of one that says where runs are kept."""

    @property
    def tracking(self) -> TrackingConfig: ...


def storage(config: Settings, root: Path) -> str:
    """The tracking and registry URI with its login, if it has one: the configured server, or SQLite under `root`."""
    return secret.resolve(config.tracking.uri, "tracking.uri") if config.tracking.uri else embedded(root)


def embedded(root: Path) -> str:
    """The SQLite store under `root`."""
    return f"sqlite:///{root.resolve() / 'mlflow.db'}"


def artifact_root(root: Path) -> str:
    """Where the embedded store keeps artifacts."""
    return (root.resolve() / "mlartifacts").as_uri()


def shown(uri: str) -> str:
    """A URI without the user and password in it, for messages."""
    return secret.shown(uri)


def address(config: SetupConfig, root: Path) -> str | None:
    """URL of the tracking server without its login; None: the store is a database."""
    uri = storage(config, root)
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if is_server(uri) else None


def is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def check(config: SetupConfig, root: Path) -> str:
    """What answers, for `selfray doctor`.

    Raises:
        UserError: nothing does.
    """
    uri = storage(config, root)
    try:
        connect(uri)
    except Unreachable as error:
        raise UserError(f"{'tracking.uri' if is_server(uri) else 'storage'}: {shown(uri)}: {error}") from None
    return f"{mlflow().__version__} at {shown(uri)}"


def mlflow() -> Any:
    """Import MLflow, which takes 2-5 s, and keep its log lines off the terminal."""
    set_environment()
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # warns where a uv environment has no pip
    return mlflow


@contextmanager
def reached(timeout_s: int | None = None) -> Iterator[None]:
    """Turn whatever an MLflow call raises into Unreachable; `timeout_s` gives uploads more time than the usual 5 s."""
    mlflow()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    before = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    if timeout_s is not None:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(max(timeout_s, int(before)))
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:  # OSError: requests' errors, unreadable files
        raise Unreachable(one_line(error)) from error
    finally:
        if timeout_s is not None:  # only who changed it: the shipping thread comes by here at the same time
            os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = before


def connect(uri: str) -> "MlflowClient":
    """A client of the tracking server and registry at `uri`; makes a new database.

    Raises:
        Unreachable: it does not answer.
    """
    with reached(), database.opened(uri):
        client: MlflowClient = mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
        return client


def use(uri: str) -> None:
    """Make `uri` MLflow's setting of this process; the registry looks `models:/` sources up there, whoever asks."""
    mlflow().set_tracking_uri(uri)
    mlflow().set_registry_uri(uri)


@contextmanager
def used(uri: str) -> Iterator[None]:
    """`use`, but only inside; what a caller has set is his own."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")  # MLflow's setters set these as well
    environment = {name: os.environ.get(name) for name in names}
    tracking, registry = mlflow().get_tracking_uri(), mlflow().get_registry_uri()
    was_set = mlflow().is_tracking_uri_set()
    use(uri)
    try:
        yield
    finally:
        mlflow().set_tracking_uri(tracking if was_set else None)
        mlflow().set_registry_uri(None if registry == tracking else registry)  # None: it follows the other
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def context_tags() -> dict[str, str]:
    """What MLflow itself finds out about user, program and git; `create_run` sets none of it."""
    from mlflow.tracking.context.registry import resolve_tags

    return dict(resolve_tags())


def has_run(client: "MlflowClient", run_id: str) -> bool:
    """True when the run is on this server and not deleted."""
    return _is_there(lambda: client.get_run(run_id).info.lifecycle_stage == "active")


def runs_again(client: "MlflowClient", run_id: str) -> bool:
    """The same, and set the run to RUNNING; MLflow looks itself before it does, so it is not asked twice."""
    return _is_there(lambda: client.update_run(run_id, status="RUNNING") is None)


def _is_there(ask: Callable[[], Any]) -> bool:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

    try:
        return bool(ask())
    except MlflowException as error:
        if error.error_code in map(ErrorCode.Name, (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)):
            return False
        raise


def download(uri: str, tracking_uri: str | None = None, into: Path | None = None) -> Path:
    """Fetch an artifact, e.g. of `models:/NAME@candidate`, into a local folder, by default a new one.

    Raises:
        UserError: there is no such thing, or the server does not answer.
    """
    from tempfile import mkdtemp

    try:
        with reached(UPLOAD_TIMEOUT_S):
            mlflow()
            from mlflow.artifacts import download_artifacts

            folder = str(into) if into else mkdtemp(prefix="selfray-")
            # whatever it is given, MLflow looks `models:/` up in the process's own registry
            with used(tracking_uri) if tracking_uri else nullcontext():
                return Path(download_artifacts(uri, dst_path=folder, tracking_uri=tracking_uri))
    except Unreachable as error:
        raise UserError(f"{uri}: {error}") from None


def log_params(client: "MlflowClient", run_id: str, params: dict[str, object]) -> None:
    """Log the params that the run does not have yet: 100 a request, values cut at 6000 characters."""
    from mlflow.entities import Param

    there = client.get_run(run_id).data.params
    rows = [Param(key, str(value)[:6000]) for key, value in params.items() if key not in there]
    for first in range(0, len(rows), 100):
        client.log_batch(run_id, params=rows[first : first + 100])


def log_new(client: "MlflowClient", run_id: str, params: dict[str, object]) -> None:
    """Log the params of a run that has none yet, at most 100 of them, in one request."""
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, str(value)[:6000]) for key, value in params.items()])


def write_once(client: "MlflowClient", run_id: str, key: str, value: str) -> bool:
    """Give a run a param that it does not have; False: it has another value already.

    MLflow decides in one database transaction, so of several who try at once one writes.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.log_param(run_id, key, value)
    except MlflowException:
        there = client.get_run(run_id).data.params.get(key)
        if there is None:
            raise
        return bool(there == value)
    return True


def log_values(
    client: "MlflowClient", run_id: str, values: Iterable[Value], model_id: str | None = None, data: Any = None
) -> None:
    """Log metrics; the same value again (name, time, step) changes nothing.

    Args:
        model_id: Ties the values to a logged model.
        data: The `mlflow.entities.Dataset` they were measured on.
    """
    from mlflow.entities import Metric

    tie = {"model_id": model_id, "run_id": run_id} if model_id else {}
    if data is not None:
        tie |= {"dataset_name": data.name, "dataset_digest": data.digest}
    rows = [Metric(v.name, v.value, v.time, v.step, **tie) for v in values]
    for first in range(0, len(rows), 500):
        client.log_batch(run_id, metrics=rows[first : first + 500])


def set_environment() -> None:
    """MLflow's settings for this process and those that it starts; what the user has set stays."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
