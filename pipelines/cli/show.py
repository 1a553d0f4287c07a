"""show, list, ui: what there is."""

import argparse
import subprocess

import yaml

from pipelines.cli.base import Verbs
from pipelines.tracking import loopback


def add(verbs: Verbs) -> None:
    verbs.add_for_recipe("show", "print the resolved config", _show)
    verbs.add("list", "methods, encoders, augmentations, probes, sources, recipes", _list)
    ui = verbs.add_for_recipe("ui", "open MLflow on the runs of a recipe's storage", _ui, default="digits")
    ui.add_argument("--port", type=int, default=5000)
    ui.add_argument("--host", default=loopback.LOOPBACK, help="another address than loopback needs --expose")
    ui.add_argument("--expose", action="store_true", help="let other machines in: MLflow has no login of its own")


def _show(options: argparse.Namespace) -> int:
    from pipelines.config.parse import load

    print(yaml.safe_dump(load(options.recipe, options.set).model_dump(mode="json"), sort_keys=False), end="")
    return 0


def _list(options: argparse.Namespace) -> int:
    from pipelines.cli import summary

    summary.list_components()
    return 0


def _ui(options: argparse.Namespace) -> int:
    from pipelines.config.parse import load
    from pipelines.storage.root import storage_root
    from pipelines.tracking import ui as mlflow_pages

    config = load(options.recipe, options.set)
    root = storage_root(config)
    can = "read, change and delete every run, artifact and model there"
    warning = loopback.consent(options.host, options.port, options.expose, can)
    command, url = mlflow_pages.ui(config, root, options.port, options.host)
    if command and warning:
        print(warning, flush=True)
    print(f"MLflow: {url}  (Ctrl-C ends it)", flush=True)
    return subprocess.call(command) if command else 0
