"""MLflow's own pages: the command that serves them, and links into them."""

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path

from pipelines.config.run import SetupConfig
from pipelines.tracking import view
from pipelines.tracking.loopback import LOOPBACK
from pipelines.tracking.server import address, artifact_root, is_server, set_environment, storage
from pipelines.tracking.shipping import Unreachable

PORT = 5000
_MODE = "workflowType=machine_learning"  # after the '#' of a link; else MLflow's pages open for chat traces


def run_link(text: str, experiment_id: str, run_id: str, place: str = "") -> str:
    """A link to a run in the Markdown of MLflow's own pages, wherever they are served.

    Args:
        place: in the run, e.g. `artifacts/review/review.html`.
    """
    return f"[{text}](#/experiments/{experiment_id}/runs/{run_id}{f'/{place}' if place else ''})"


def ui(config: SetupConfig, root: Path, port: int = PORT, host: str = LOOPBACK) -> tuple[list[str] | None, str]:
    """The command that starts MLflow's pages, on loopback if nothing else is said, and the link to open.

    The command is None when `tracking.uri` is a server: it has the pages already.
    """
    uri = storage(config, root)
    url = f"{_base(config, root, port)}/#{_runs(uri, config)}"
    if is_server(uri):
        return None, url
    set_environment()
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level warning"]
    if config.tracking.uri:
        os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # on the command line every user of the machine could read it
    else:
        command += ["--backend-store-uri", uri]
    return [*command, "--default-artifact-root", artifact_root(root)], url


def how_to_open(config: SetupConfig, root: Path) -> str:
    """For the end of a run: where the reviewer finds it."""
    _, url = ui(config, root)
    if is_server(storage(config, root)):
        return url
    return f"selfray ui --set {shlex.quote(f'storage={root}')}   then   {url}"


def _runs(uri: str, config: SetupConfig) -> str:
    """The runs with their scores in view; the list of experiments where there are none yet, or nobody answers."""
    database = uri.removeprefix("sqlite:///")
    if database == uri or Path(database).exists():  # to look would make it
        with suppress(Unreachable, LookupError, ImportError):  # the last: a database whose driver is not here
            return f"{view.place(uri, config.tracking.experiment)}&{_MODE}"
    return f"/experiments?{_MODE}"


def _base(config: SetupConfig, root: Path, port: int) -> str:
    return (address(config, root) or f"http://{LOOPBACK}:{port}").rstrip("/")
