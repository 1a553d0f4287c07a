"""Targets of a table's columns, put to a sample that was read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipelines.data.shards.targets import read_values
from pipelines.data.sources.base import Raw


def with_targets(raw: Raw, kinds: Mapping[str, Any], cells: Mapping[str, Any]) -> Raw:
    """The sample with its targets; one whose cell does not hold what its kind says is a bad sample, and says so."""
    if not kinds or raw.data is None:
        return raw
    try:
        return replace(raw, targets=read_values(kinds, cells))
    except ValueError as error:
        return replace(raw, data=None, error=str(error))
