"""Build a source by name, read all of it, or see what it refuses."""

from typing import Any

import pytest

from pipelines.data.sources.base import Raw, Source
from pipelines.errors import UserError
from ssl_core.catalog import find

SHARD_MB = 1


def made(name: str, **options: Any) -> Source:
    component = find("pipelines.data.sources", name)
    source: Source = component(component.Config(**options))
    return source


def samples(source: Source) -> list[Raw]:
    return [raw for part in source.parts(SHARD_MB) for raw in source.read(part)]


def refusal(name: str, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        made(name, **options).parts(SHARD_MB)
    with pytest.raises(UserError):  # known before the stage begins
        made(name, **options).fingerprint()
    assert "\n" not in str(error.value)
    return str(error.value)
