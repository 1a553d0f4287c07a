"""A config as dotted keys, and the hash of a value: what stages and runs are identified by."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ssl_core.config import Config


def flat(config: Config) -> dict[str, Any]:
    """Dotted keys to plain values: MLflow params, and the names that Tune may vary."""

    def walk(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    return dict(walk(config.model_dump(mode="json"), ""))


def fingerprint(value: Any) -> str:
    """Hash of a JSON-able value: what stages and runs are identified by."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
