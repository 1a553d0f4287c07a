"""YAML and `--set` keys to a checked config; every mistake is one dotted line."""

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pipelines.config import plain_yaml, recipe_file
from pipelines.config.flat import put_
from pipelines.config.run import RunConfig
from pipelines.errors import UserError
from ssl_core.catalog import keys_only
from ssl_core.config import Config

C = TypeVar("C", bound=Config)


def parse(tree: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Check a YAML tree after setting dotted keys, e.g. parse(tree, {"optim.lr": 3e-4}).

    Raises:
        UserError: one dotted line per mistake, all at once.
    """
    return parse_as(RunConfig, tree, changes)


def parse_as(kind: type[C], tree: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> C:
    """The same for another kind of config."""
    try:
        return kind.model_validate(with_changes(tree, changes))
    except ValidationError as error:
        lines = sorted({_line(e["loc"], e["msg"]) for e in error.errors(include_url=False)})
        raise UserError("cannot run this config:\n" + "\n".join(f"  {line}" for line in lines)) from None


def with_changes(tree: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of an unchecked tree with dotted keys set."""
    changed = deepcopy(dict(tree))
    for dotted, value in (changes or {}).items():
        put_(changed, dotted, value)
    return changed


def load(recipe: str | Path, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a recipe: a YAML file, or the name of one that ships in pipelines/recipes.

    Raises:
        UserError: no such recipe, or one dotted line per mistake; of a key before torch is imported.
    """
    return checked(read_tree(recipe_file.find(recipe)), changes)


def checked(tree: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> RunConfig:
    """`parse`, and first the keys alone: of a mistake in one it says so before torch is imported."""
    with keys_only():
        parse(tree, changes)
    return parse(tree, changes)


def load_keys(recipe: str | Path, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """The same to print, not to run: each key and value is checked, not whether the parts fit together."""
    with keys_only():
        return parse(read_tree(recipe_file.find(recipe)), changes)


def read_tree(path: Path) -> dict[str, Any]:
    """What a YAML file holds, unchecked.

    Raises:
        UserError: it is not text, not YAML, or holds no keys.
    """
    try:
        tree = plain_yaml.load(path.read_text("utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"recipe {path}: is not text in UTF-8; save it as UTF-8") from None
    except plain_yaml.NotPlain as error:
        raise UserError(f"recipe {path}: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"recipe {path}: holds no keys")
    return tree


_MEMBER = re.compile(r"int|float|str|bool|(tuple|list)\[.*\]")
"""What pydantic adds to the place of a mistake for each of the types that a key takes."""


def _line(loc: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    loc = loc[:-1] if loc and _MEMBER.fullmatch(str(loc[-1])) else loc
    return f"{'.'.join(map(str, loc))}: {message}" if loc else message
