"""Targets other than a class: what evaluation and fine-tuning may read, in files that pre-training never opens.

`train/targets-00000.parquet` beside a shard has the columns sample_id and one per target, null where a sample has
none; the manifest lists the file with its sha256 and the kind of each target.
"""

import json
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from pipelines.data.shards.manifest import Manifest, ShardFile
from pipelines.storage import parquet
from pipelines.storage.checksum import sha256_of

Kind = Literal["number", "text", "spans", "boxes", "mask", "numbers"]
TYPES: Mapping[str, pa.DataType] = {
    "number": pa.float64(),
    "text": pa.string(),
    "spans": pa.string(),  # JSON
    "boxes": pa.string(),  # JSON
    "mask": pa.binary(),  # PNG
    "numbers": pa.list_(pa.float64()),
}
_PNG = b"\x89PNG\r\n\x1a\n"


def schema(kinds: Mapping[str, str]) -> pa.Schema:
    return pa.schema([("sample_id", pa.int64()), *((name, TYPES[kind]) for name, kind in kinds.items())])


def read_values(kinds: Mapping[str, Kind], given: Mapping[str, Any]) -> dict[str, Any]:
    """A source's cells as they are stored; None, or an empty text: the sample has no such target.

    Raises:
        ValueError: a cell does not hold what its kind says; names the column.
    """
    found = dict[str, Any]()
    for name, kind in kinds.items():
        value = given.get(name)
        try:
            found[name] = None if value is None or value == "" else _value(kind, value)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"source.targets.{name}: no {kind} in this row") from None
    return found


def _value(kind: Kind, value: Any) -> Any:
    if kind == "number":
        return _number(value)
    if kind == "numbers":
        return [_number(each) for each in (json.loads(value) if isinstance(value, str) else value)]
    if kind == "mask":
        if not isinstance(value, bytes) or not value.startswith(_PNG):
            raise ValueError
        return value
    if kind == "text":
        return str(value)
    tree = json.loads(value) if isinstance(value, str) else value
    if not isinstance(tree, list):
        raise ValueError
    return json.dumps(tree)


def _number(value: Any) -> float:
    if not isfinite(number := float(value)):
        raise ValueError
    return number


class TargetTable:
    """Those of one split's share of a part; without targets there is no file."""

    def __init__(self, folder: Path, split: str, index: int, kinds: Mapping[str, str]):
        self._folder, self._path, self._kinds = folder, f"{split}/targets-{index:05d}.parquet", kinds
        self._rows: list[dict[str, Any]] = []

    def add(self, sample_id: int, values: Mapping[str, Any]) -> None:
        if self._kinds:
            self._rows.append({"sample_id": sample_id, **values})

    def written(self, shard: ShardFile | None) -> ShardFile | None:
        """Write the file; what the manifest says of the shard, with it."""
        if shard is None or not self._rows:
            return shard
        path = self._folder / self._path
        parquet.write(pa.Table.from_pylist(self._rows, schema=schema(self._kinds)), path)
        return shard.model_copy(update={"targets_path": self._path, "targets_sha256": sha256_of(path)})


def read(folder: Path, listing: Manifest, split: Literal["train", "test"], name: str) -> Iterator[tuple[int, Any]]:
    """(sample id, value) of every sample of a split that has this target, file by file.

    Raises:
        KeyError: these shards have no target of that name.
    """
    if name not in listing.targets:
        raise KeyError(name)
    for file in listing.files(split):
        if file.targets_path is not None:
            table = parquet.table(folder / file.targets_path, schema(listing.targets), ["sample_id", name])
            values = zip(table["sample_id"].to_pylist(), table[name].to_pylist(), strict=True)
            yield from ((sample_id, value) for sample_id, value in values if value is not None)
