"""What of a config differs from the defaults of its classes: what stages and runs are identified by.

A key that is new, and at its default, then changes no hash. A default that changes does not either, so whoever changes
one raises `version` of what reads it; tests/pipelines/config/test_defaults.py lists them all.
"""

from collections.abc import Mapping
from typing import Any

from ssl_core.config import Config


def chosen(config: Config) -> dict[str, Any]:
    """A tree of plain values without the keys at their class's default; names of components always stay."""
    found: dict[str, Any] = _values(config, config.model_dump(mode="json"))
    return found


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The same as dotted keys; an empty mapping is a value, as `evaluate.robustness: {}` is not null."""
    found = dict[str, Any]()
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= dotted(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def is_default(config: Config, key: str) -> bool:
    """Whether a field is at its class's default; one whose default depends on others never is."""
    field = type(config).model_fields[key]
    return not field.is_required() and field.default_factory is None and getattr(config, key) == field.default


def _values(value: Any, dumped: Any) -> Any:
    if isinstance(value, Config):
        keys = type(value).model_fields
        return {k: _values(getattr(value, k), dumped[k]) for k in keys if k == "name" or not is_default(value, k)}
    if isinstance(value, Mapping):
        return {key: _values(value[key], dumped[key]) for key in value}
    if isinstance(value, tuple | list):
        return [_values(*pair) for pair in zip(value, dumped, strict=True)]
    return dumped
