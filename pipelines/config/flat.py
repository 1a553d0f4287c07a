"""Trees of plain values as dotted keys and back, and the hash of a value: what stages and runs are identified by."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.errors import UserError
from ssl_core.config import Config


def flat(config: Config) -> dict[str, Any]:
    """Dotted keys to plain values: MLflow params, and the names that Tune may vary."""
    return flat_tree(config.model_dump(mode="json"))


def flat_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """{"optim": {"lr": 0.1}} -> {"optim.lr": 0.1}; a section without keys is left out."""

    def walk(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    return dict(walk(tree, ""))


def nested(keys: Mapping[str, Any]) -> dict[str, Any]:
    """{"optim.lr": 0.1} -> {"optim": {"lr": 0.1}}. Raises as `put_`."""
    tree: dict[str, Any] = {}
    for dotted, value in keys.items():
        put_(tree, dotted, value)
    return tree


def put_(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Set one dotted key; sections that are not there, or null, are made.

    Raises:
        UserError: the key lies inside a plain value.
    """
    *parents, leaf = dotted.split(".")
    node: Any = tree
    for parent in parents:
        if not isinstance(node, dict):
            raise UserError(f"--set {dotted}: '{parent}' lies inside a plain value")
        if node.get(parent) is None:
            node[parent] = {}
        node = node[parent]
    if not isinstance(node, dict):
        raise UserError(f"--set {dotted}: '{leaf}' lies inside a plain value")
    node[leaf] = value


def fingerprint(value: Any) -> str:
    """Hash of a JSON-able value: what stages and runs are identified by."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
