"""The verbs of the command line: `selfray` or `python -m pipelines`."""

import argparse
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import Interrupted, UserError

Verb = Callable[[argparse.Namespace], int]
STAGES = {
    "run": ("register", "take raw files all the way to a registered candidate"),
    "ingest": ("ingest", "raw files to shards"),
    "pretrain": ("pretrain", "shards to a checkpoint (ingests first where needed)"),
    "evaluate": ("evaluate", "checkpoint to scores and report"),
    "register": ("register", "report to a candidate in the MLflow registry"),
}
KILLED = 130


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 an error of one line, 130 stopped by Ctrl-C (the same command goes on)."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a Ctrl-C
    options = _parser().parse_args(arguments)
    try:
        verb: Verb = options.verb
        return verb(options)
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"selfray: {error or 'stopped'}; run the same command again to go on from there", file=sys.stderr)
        return KILLED
    except UserError as error:
        return _fail(str(error), options.debug)
    except OSError as error:
        place = error.filename or "storage"
        return _fail(f"{place}: {error.strerror or error}; free space or fix the rights", options.debug)
    except Exception as error:  # a fault of ours: one line all the same, the rest on demand
        first = str(error).strip().split("\n", 1)[0]
        return _fail(f"{type(error).__name__}: {first} (--debug shows where)", options.debug)


def _stage(options: argparse.Namespace) -> int:
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


def _audit(options: argparse.Namespace) -> int:
    from pipelines import audit, inputs, summary
    from pipelines.config import load
    from pipelines.stages.pretrain import PRETRAIN

    folder = Path(options.recipe)
    if not folder.is_dir():
        config = load(options.recipe, options.set)
        root = summary.storage_root(config)
        made = inputs.made_from(root, PRETRAIN.name, PRETRAIN.keys(config))
        if not made:
            raise UserError(f"audit: this recipe has no pre-training under {root} yet")
        folder = made[-1]
    found = audit.of_run(folder.absolute())
    print(found.markdown(), end="")
    return 0 if found.is_exact else 1


def _tune(options: argparse.Namespace) -> int:
    from pipelines import summary
    from pipelines.config import load
    from pipelines.stages import engine
    from pipelines.tuning import flow

    config = load(options.recipe, options.set)
    root = summary.storage_root(config)
    try:
        _, made = flow.tune(config, root, resume=options.resume)
    finally:
        engine.close()
    summary.show(config, made, root)
    return 0


def _show(options: argparse.Namespace) -> int:
    from pipelines.config import load

    print(yaml.safe_dump(load(options.recipe, options.set).model_dump(mode="json"), sort_keys=False), end="")
    return 0


def _list(options: argparse.Namespace) -> int:
    from pipelines import summary

    summary.list_components()
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from pipelines import doctor
    from pipelines.config import load

    return doctor.examine(load(options.recipe, options.set))


def _ui(options: argparse.Namespace) -> int:
    from pipelines import mlflow_store, summary
    from pipelines.config import load

    config = load(options.recipe, options.set)
    root = summary.storage_root(config)
    command, url = mlflow_store.ui(config, root, options.port)
    print(f"MLflow: {url}  (Ctrl-C ends it)", flush=True)
    return subprocess.call(command) if command else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="selfray", description="From unlabeled files to a reviewed encoder.")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = parser.add_subparsers(title="verbs", required=True, dest="name", metavar="VERB")

    def add(name: str, text: str, verb: Verb, recipe: str | None) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        sub.set_defaults(verb=verb)
        if recipe is not None:
            text = "YAML file, or the name of a shipped recipe"
            sub.add_argument("recipe", nargs="?" if recipe else None, default=recipe or None, help=text)
            sub.add_argument("--set", action=_Set, default={}, metavar="A.B=VALUE", help="change one key of the recipe")
        return sub

    for name, (_, text) in STAGES.items():
        stage = add(name, text, _stage, "")
        if name in ("run", "pretrain"):
            resume = "go on with this run's unfinished pre-training, or say which keys have changed since"
            stage.add_argument("--resume", action="store_true", help=resume)
    add("audit", "was every sample consumed exactly once? RECIPE or the folder of a pre-training", _audit, "")
    tune = add("tune", "search the recipe's space by the quality of the representation", _tune, "")
    tune.add_argument(
        "--resume", action="store_true", help="go on with an interrupted campaign; an error if none is there"
    )
    add("show", "print the resolved config", _show, "")
    add("list", "methods, encoders, augmentations, probes, sources, recipes", _list, None)
    add("doctor", "check this machine and say what to do about each fault", _doctor, "digits")
    ui = add("ui", "open MLflow on the runs of a recipe's storage", _ui, "digits")
    ui.add_argument("--port", type=int, default=5000)
    return parser


class _Set(argparse.Action):
    """Collects `--set a.b=value`; the value is read as YAML."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        key, sign, value = str(values).partition("=")
        if not sign or not key:
            parser.error(f"--set {values}: write it as a.b=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed = value
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), key: parsed})


def _fail(line: str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"selfray: {line}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
