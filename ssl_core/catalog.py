"""Find a component by name. The file name is the name: `simclr` lives in methods/simclr.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from pydantic import BeforeValidator

from ssl_core import component_source
from ssl_core.config import Config

_KEYS_ONLY = ContextVar("keys only", default=False)


def names(package: str) -> list[str]:
    """Every component in a package, e.g. names("ssl_core.methods") -> ["byol", "mae", "simclr"]."""
    found = [m.name for m in iter_modules(import_module(package).__path__)]
    return sorted(n for n in found if n != "base" and not n.startswith("_"))


def find(package: str, name: str) -> Any:
    """The one class of `package/name.py` that has a nested Config. Imports only that file.

    Raises:
        ValueError: no such file; the message names the nearest one.
    """
    _check_name(package, name)
    module = import_module(f"{package}.{name}")
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    (component,) = [c for c in own if "Config" in vars(c)]
    return component


def summary(package: str, name: str) -> str:
    """The first line of a component's docstring: what `selfray list` prints."""
    _check_name(package, name)
    return component_source.summary(package, name)


@contextmanager
def keys_only() -> Iterator[None]:
    """Inside, configs are checked key by key without importing components: no torch, but nothing to build from."""
    token = _KEYS_ONLY.set(True)
    try:
        yield
    finally:
        _KEYS_ONLY.reset(token)


def checks_keys_only() -> bool:
    return _KEYS_ONLY.get()


def config_type(package: str, name: str) -> type[Config]:
    """The Config of a component; inside `keys_only` one that is read from its source. Raises as `find` does."""
    _check_name(package, name)
    if checks_keys_only():
        return component_source.config(package, name)
    found: type[Config] = find(package, name).Config
    return found


def named_in(package: str) -> BeforeValidator:
    """Check a config field by the schema of the file that its `name:` key points to."""

    def parse(raw: Any) -> Config:
        if isinstance(raw, Config):
            return raw
        if not isinstance(raw, dict) or "name" not in raw:
            raise ValueError(f"needs a 'name'; choose one of {', '.join(names(package))}")
        return config_type(package, raw["name"]).model_validate(raw)

    return BeforeValidator(parse)


def _check_name(package: str, name: object) -> None:
    known = names(package)
    if name not in known:
        close = get_close_matches(str(name), known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(known)}"
        raise ValueError(f"there is no '{name}' in {package}; {hint}")
