"""show, list, ui: what there is."""

import argparse
import os
import signal
import subprocess
import time
from contextlib import suppress

import yaml

from pipelines.cli.base import Verbs
from pipelines.tracking import loopback

PATIENCE_S = 10
"""What a server may take to end."""


def add(verbs: Verbs) -> None:
    verbs.add_for_recipe("show", "print the resolved config; `doctor` also checks that its parts fit together", _show)
    verbs.add("list", "methods, encoders, augmentations, probes, sources, recipes", _list)
    ui = verbs.add_for_recipe("ui", "open MLflow on the runs of a recipe's storage", _ui, default="digits")
    ui.add_argument("--port", type=int, default=5000)
    ui.add_argument("--host", default=loopback.LOOPBACK, help="another address than loopback needs --expose")
    ui.add_argument("--expose", action="store_true", help="let other machines in: MLflow has no login of its own")


def _show(options: argparse.Namespace) -> int:
    from pipelines.config.parse import load_keys

    config = load_keys(options.recipe, options.set)
    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), end="")
    return 0


def _list(options: argparse.Namespace) -> int:
    from pipelines.cli import listing

    listing.show()
    return 0


def _ui(options: argparse.Namespace) -> int:
    from pipelines.config.parse import load

    config = load(options.recipe, options.set)
    from pipelines.storage.root import storage_root
    from pipelines.tracking import database
    from pipelines.tracking import server as mlflow_store
    from pipelines.tracking import ui as mlflow_pages

    root = storage_root(config)
    can = "read, change and delete every run, artifact and model there"
    warning = loopback.consent(options.host, options.port, options.expose, can)
    command, url = mlflow_pages.ui(config, root, options.port, options.host)
    if command and warning:
        print(warning, flush=True)
    print(f"MLflow: {url}  (Ctrl-C ends it)", flush=True)
    if not command:
        return 0
    if database.is_missing(mlflow_store.storage(config, root)):
        mlflow_store.check(config, root)  # MLflow's server would make it in place, and a Ctrl-C meanwhile break it
    return _served(command)


def _served(command: list[str]) -> int:
    """Run a server until it ends or a signal comes; then nothing of it is left, whichever signal that is."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` sets it
        signal.signal(signal.SIGHUP, signal.default_int_handler)  # the terminal was closed
    quiet = {"PYTHONWARNINGS": "ignore", **os.environ}
    server = subprocess.Popen(
        command,
        env=quiet,
        stdout=subprocess.DEVNULL,  # says that a setting was not given; what goes wrong is said on the other
        start_new_session=True,  # a group of its own: it starts others
    )
    try:
        return server.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
            over = time.monotonic() + PATIENCE_S
            while time.monotonic() < over:
                server.poll()
                os.killpg(server.pid, 0)  # raises when nobody is left
                time.sleep(0.05)
            os.killpg(server.pid, signal.SIGKILL)
