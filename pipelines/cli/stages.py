"""run, ingest, pretrain, evaluate, register: the pipeline, or the line up to one of its stages."""

import argparse

from pipelines.cli import plain
from pipelines.cli.base import Verbs

STAGES = {
    "run": ("register", "take raw files all the way to a registered candidate"),
    "ingest": ("ingest", "raw files to shards"),
    "pretrain": ("pretrain", "shards to a checkpoint (ingests first where needed)"),
    "evaluate": ("evaluate", "checkpoint to scores and report; with --on, any model on any data"),
    "register": ("register", "report to a candidate in the MLflow registry"),
}


def add(verbs: Verbs) -> None:
    for name, (_, text) in STAGES.items():
        parser = verbs.add_for_recipe(name, text, _stage, takes_data=True)
        plain.add_options(parser, budget=True)
        if name in ("run", "pretrain"):
            resume = "go on with this run's unfinished pre-training, or say which keys have changed since"
            parser.add_argument("--resume", action="store_true", help=resume)
        if name == "evaluate":
            on = "score the MODEL given in place of a recipe (NAME@ALIAS, NAME/VERSION, models:/..., a checkpoint's or "
            on += "packed model's folder, a YAML file of a foreign encoder) on shards, an image folder or Parquet"
            parser.add_argument("--on", metavar="DATA", help=on)


def _stage(options: argparse.Namespace) -> int:
    if getattr(options, "on", None):
        return _evaluate_model(options)
    config = plain.config_of(options)
    from pipelines import flow
    from pipelines.cli import summary
    from pipelines.runtime import session
    from pipelines.storage import inputs
    from pipelines.storage.root import storage_root
    from pipelines.train.pretrain import PRETRAIN

    root = storage_root(config)
    if getattr(options, "resume", False):
        inputs.may_resume(root, PRETRAIN.name, config.name, PRETRAIN.keys(config), PRETRAIN.deciding(config))
    try:
        if config.ray.address != "local":
            session.connect(config)  # what the nodes of a cluster do not see is said before anything begins
        made = flow.up_to(STAGES[options.name][0], config, root)  # type: ignore[arg-type]
    finally:
        session.close()
    summary.show(config, made, root)
    return 0


def _evaluate_model(options: argparse.Namespace) -> int:
    from pathlib import Path

    from pipelines import flow
    from pipelines.cli import summary
    from pipelines.evaluate import any_model
    from pipelines.runtime import session
    from pipelines.storage.root import storage_root

    root = storage_root(any_model.places(options.recipe, options.set))
    config, model = any_model.plan(options.recipe, Path(options.on).expanduser().absolute(), options.set, root)
    try:
        made = flow.evaluate_model(config, model, root)
    finally:
        session.close()
    summary.show(config, made, root)
    return 0
