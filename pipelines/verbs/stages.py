"""run, ingest, pretrain, evaluate, register: the pipeline, or the line up to one of its stages."""

import argparse

from pipelines.verbs.base import Verbs

STAGES = {
    "run": ("register", "take raw files all the way to a registered candidate"),
    "ingest": ("ingest", "raw files to shards"),
    "pretrain": ("pretrain", "shards to a checkpoint (ingests first where needed)"),
    "evaluate": ("evaluate", "checkpoint to scores and report; with --on, any model on any data"),
    "register": ("register", "report to a candidate in the MLflow registry"),
}


def add(verbs: Verbs) -> None:
    for name, (_, text) in STAGES.items():
        parser = verbs.add_for_recipe(name, text, _stage)
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
    from pipelines import flow, inputs, summary
    from pipelines.config import load
    from pipelines.stages import engine
    from pipelines.stages.pretrain import PRETRAIN

    config = load(options.recipe, options.set)
    root = summary.storage_root(config)
    if getattr(options, "resume", False):
        inputs.may_resume(root, PRETRAIN.name, config.name, PRETRAIN.keys(config))
    try:
        made = flow.up_to(STAGES[options.name][0], config, root)  # type: ignore[arg-type]
    finally:
        engine.close()
    summary.show(config, made, root)
    return 0


def _evaluate_model(options: argparse.Namespace) -> int:
    from pathlib import Path

    from pipelines import evaluation, flow, summary
    from pipelines.stages import engine

    root = summary.storage_root(evaluation.places(options.recipe, options.set))
    config, model = evaluation.plan(options.recipe, Path(options.on).expanduser().absolute(), options.set, root)
    try:
        made = flow.evaluate_model(config, model, root)
    finally:
        engine.close()
    summary.show(config, made, root)
    return 0
