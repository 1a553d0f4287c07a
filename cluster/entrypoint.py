"""What a job does: a verb of the command line, its arguments as they are meant here, the files that go with them."""

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipelines.config import secret
from pipelines.config.flat import fingerprint
from pipelines.config.parse import with_changes
from pipelines.config.run import RunConfig
from pipelines.errors import UserError
from pipelines.evaluate import any_model
from pipelines.model import versions
from ssl_core.config import NamedConfig

RECIPE = "recipe.yaml"
BY_NAME = "write ${env:NAME} there and set NAME"


class Entrypoint(NamedTuple):
    verb: str
    name: str
    """Of the run or of the model."""
    arguments: tuple[str, ...]
    storage: Path
    """Where it writes."""
    identity: Any
    """JSON-able; the same for the same work, wherever it is submitted from and to."""
    files: Mapping[str, str]
    """Name -> text, of what lies in the job's folder beside the code."""

    @property
    def job_id(self) -> str:
        return f"selfray-{self.verb}-{self.name}-{fingerprint(self.identity)[:10]}"

    @property
    def command(self) -> str:
        """`exec`: a signal to the job's process then reaches Selfray, not a shell around it."""
        return shlex.join(["exec", "python", "-m", "pipelines", self.verb, *self.arguments])


def of_recipe(verb: str, config: RunConfig) -> Entrypoint:
    """`selfray VERB` of this config.

    Raises:
        UserError: it holds a password, which Ray would keep where every user of the cluster can read it.
    """
    config = as_there(config)
    _without_login("tracking.uri", config.tracking.uri, BY_NAME)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    identity = config.model_dump(mode="json", exclude={"ray"})
    return Entrypoint(verb, config.name, (RECIPE,), config.storage, identity, {RECIPE: text})


def of_evaluation(model: str, on: Path, changes: Mapping[str, Any]) -> Entrypoint:
    """`selfray evaluate MODEL --on DATA`; arguments as of `pipelines.evaluate.any_model.plan`.

    Raises:
        UserError: as `of_recipe`, or the model is a YAML file that is not there.
    """
    places = any_model.places(model, changes)
    _without_login("tracking.uri", places.tracking.uri, BY_NAME)
    storage = _absolute(places.storage)
    changes, files = {**changes, "storage": str(storage), "ray.address": "auto"}, {}
    arguments = [_model(model), "--on", str(_absolute(on))]
    if any_model.is_yaml(model):
        arguments[0] = Path(model).name
        files[arguments[0]] = _foreign(with_changes(any_model.read(model), changes))
    else:
        arguments += [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    name = f"{_title(model)}-on-{any_model.plain(on.stem)}"
    return Entrypoint("evaluate", name, tuple(arguments), storage, [arguments, files], files)


def of_embedding(model: str, given: Mapping[str, Any]) -> Entrypoint:
    """`selfray embed MODEL`.

    Args:
        given: its options by their name in Python; None where one is left out.
    Raises:
        UserError: as `of_recipe`, or there is no input, output or registry.
    """
    if missing := [name for name in ("input", "output") if given[name] is None]:
        raise UserError(f"--{missing[0]}: embed needs it")
    uri = given["tracking_uri"]
    if uri is None and not Path(model).is_dir() and "MLFLOW_TRACKING_URI" not in os.environ:  # else: the nodes' own
        uri = versions.default_uri()
    _without_login("--tracking-uri", uri, "set MLFLOW_TRACKING_URI")
    output = _absolute(given["output"])
    options = {**given, "input": _absolute(given["input"]), "output": output, "tracking_uri": uri}
    flags = ((f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value is not None)
    arguments = (_model(model), "--ray-address", "auto", *(part for flag in flags for part in flag))
    return Entrypoint("embed", _title(model), arguments, output, arguments, {})


def as_there(config: RunConfig) -> RunConfig:
    """The config as the job reads it: on the cluster that it runs in, paths as they are meant here."""
    return config.model_copy(
        update={
            "storage": _absolute(config.storage),
            "source": _with_absolute_paths(config.source),
            "encoder": _with_absolute_paths(config.encoder),
            "ray": config.ray.model_copy(update={"address": "auto"}),
        }
    )


def _with_absolute_paths(part: NamedConfig) -> NamedConfig:
    values = {name: getattr(part, name) for name in type(part).model_fields}
    return part.model_copy(update={name: _absolute(v) for name, v in values.items() if isinstance(v, Path)})


def _foreign(tree: dict[str, Any]) -> str:
    """The YAML of a foreign encoder, with the place of its weights."""
    encoder = tree.get("encoder")
    if isinstance(encoder, dict) and isinstance(weights := encoder.get("weights"), str):
        tree = {**tree, "encoder": {**encoder, "weights": str(_absolute(Path(weights)))}}
    return yaml.safe_dump(tree, sort_keys=False)


def _model(written: str) -> str:
    """A folder by its place, a version by its name."""
    return str(_absolute(Path(written))) if Path(written).is_dir() else written


def _title(model: str) -> str:
    """In the job's name: of a file or folder what it is called, of a version all that was written."""
    path = Path(model)
    return any_model.plain(path.stem if path.exists() else model)


def _absolute(path: Path) -> Path:
    """As meant by who submits; `~` stays, it is the home of whoever runs the job."""
    return path if str(path).startswith("~") else path.absolute()


def _without_login(key: str, uri: str | None, instead: str) -> None:
    if uri and uri != secret.shown(uri):
        raise UserError(f"{key}: holds a login, which does not travel with a job; {instead} on the cluster's nodes")
