"""A recipe as YAML to keep."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.config import secret
from pipelines.config.flat import flat_tree
from pipelines.config.parse import read_tree, with_changes
from pipelines.errors import UserError
from pipelines.storage.atomic import write_text
from pipelines.storage.printable import printable

FOLDER = "recipes"
"""Under the storage."""
CHOSEN = ("train.epochs", "train.steps", "encoder.width", "encoder.dim")
"""Keys that a budget chooses."""


def to_yaml(tree: Mapping[str, Any]) -> str:
    """The keys in YAML, without a password."""
    shown = dict(tree)
    uri = (shown.get("tracking") or {}).get("uri")
    if isinstance(uri, str):
        shown["tracking"] = {**shown["tracking"], "uri": secret.shown(uri)}
    text: str = yaml.safe_dump(shown, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return text


def text_of(tree: Mapping[str, Any], lines: Iterable[str]) -> str:
    """A recipe file: what was recognized and why as comments, then the keys."""
    return "".join(f"# {printable(line)}\n" for line in lines) + to_yaml(tree)


def save(path: Path, text: str) -> None:
    """
    Raises:
        UserError: another file is there, or it cannot be written.
    """
    if path.exists():
        try:
            same = path.read_text("utf-8") == text
        except (OSError, UnicodeDecodeError):
            same = False
        if not same:
            raise UserError(f"--save: {path} is there and differs; give another path, or delete it")
        return
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"--save: {path}: cannot be written ({error.strerror})") from None


def place(root: Path, name: str, budget_s: int | None) -> Path:
    """Where a storage keeps the recipe that it chose for plain data, one for each budget."""
    return root / FOLDER / (f"{name}.yaml" if budget_s is None else f"{name}-{budget_s}s.yaml")


def check_name(root: Path, name: str, source: Mapping[str, Any]) -> None:
    """Two folders of the same name are two data sets.

    Raises:
        UserError: the storage keeps recipes of that name for other data.
    """
    for path in sorted((root / FOLDER).glob(f"{name}*.yaml")):
        try:
            tree = read_tree(path)
        except UserError:
            continue
        other = (tree.get("source") or {}).get("path")
        if tree.get("name") == name and other != source.get("path"):
            raise UserError(
                f"name: '{name}' is taken in this storage by {other} ({path}); add --set name=ANOTHER_NAME, or delete "
                "that file if these are the same data"
            )


def keep(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def with_choice(tree: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with other values for what a budget chooses; `train.epochs` gives way to `train.steps`."""
    train = {key: value for key, value in tree["train"].items() if key not in ("epochs", "steps")}
    return with_changes({**tree, "train": train}, chosen)


def chosen_before(path: Path, tree: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a budget chose before for the same data and the same other keys; None: it did not.

    Args:
        path: of the recipe that was kept then.
        tree: the recipe without a budget.
    """
    if not path.exists():
        return None
    before = flat_tree(read_tree(path))
    here = flat_tree(tree)
    aside = {*CHOSEN, "tracking.uri"}  # kept without its password
    if any(before.get(key) != here.get(key) for key in (before.keys() | here.keys()) - aside):
        return None
    return {key: value for key, value in before.items() if key in CHOSEN}
