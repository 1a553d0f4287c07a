"""The source that reads what lies at a path, where the kind of sample is known: by a registered model, say."""

import csv
import json
from collections.abc import Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.config.parse import read_tree
from pipelines.errors import UserError
from pipelines.storage import parquet
from ssl_core.catalog import find

TRAIN_NAMES, TEST_NAMES = ("train", "training"), ("test", "testing", "val", "valid", "validation")
TABLES = (".csv", ".tsv")
TIME_NAMES = ("time", "timestamp", "date", "datetime")
TEXT_TABLES = (".jsonl", ".ndjson", *TABLES)
_PARQUET = {
    "image": ("parquet", "image"),
    "series": ("series_parquet", "series"),
    "text": ("text_table", "text"),
}
"""Codec -> source of Parquet files, and its key for the column of the samples."""


def source_of(path: Path, codec: str, column: str = "", *, labels: bool = True) -> dict[str, Any]:
    """A source's config for the files at `path`; folders and files named like the two splits are the splits.

    Args:
        path: a file, a folder, a pattern of Parquet files, or a recipe (.yaml), whose source is taken as it is.
        codec: of the samples: image, series, text.
        column: of Parquet files and tables of text, the one with the samples; empty: named as the field is.
        labels: take class folders and a column `label` for the labels.
    Raises:
        UserError: nothing is there, or no source reads such samples from a path, or the recipe reads other ones.
    """
    if path.suffix in (".yaml", ".yml"):
        return _of_recipe(path, codec)
    if codec == "audio" and path.is_dir():
        return {"name": "audio_folder", **_splits(path), **({} if labels else {"labels": "none"})}
    if codec not in _PARQUET:
        raise UserError(f"{path}: samples of kind '{codec}' are not read from a path; write a recipe with a source")
    if not path.exists() and has_magic(str(path)):
        return _parquet(path, codec, column, labels)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give shards, files of kind {codec}, or Parquet")
    if path.suffix == ".parquet" or next(path.rglob("*.parquet"), None) is not None:
        return _parquet(path, codec, column, labels)
    splits = _splits(path)
    if codec == "text":
        return _texts(splits, column, labels)
    if codec == "series":
        return {"name": "series_csv", **splits, **_columns(Path(splits["path"]), labels)}
    return {"name": "image_folder", **splits, **({} if labels else {"labels": "none"})}


def _of_recipe(path: Path, codec: str) -> dict[str, Any]:
    """What cuts windows or names columns is a recipe's to say."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    source = read_tree(path).get("source")
    if not isinstance(source, dict) or "name" not in source:
        raise UserError(f"{path}: a recipe without source.name")
    try:
        fields = find("pipelines.data.sources", source["name"]).fields
    except ValueError as error:
        raise UserError(f"{path}: source.name: {error}") from None
    if codec not in fields.values():
        raise UserError(f"{path}: its source gives {', '.join(fields)}; the model reads {codec}")
    return source


def _splits(path: Path) -> dict[str, str]:
    inside = {each.name.lower(): each for each in path.iterdir() if each.is_dir()} if path.is_dir() else {}
    train = next((inside[name] for name in TRAIN_NAMES if name in inside), None)
    test = next((inside[name] for name in TEST_NAMES if name in inside), None)
    if train and test and len(inside) == 2:
        return {"path": str(train), "test_path": str(test)}
    return {"path": str(path)}


def _texts(splits: Mapping[str, str], column: str, labels: bool) -> dict[str, Any]:
    """Tables where there are some, else files; of a .txt that is named itself each line is a text."""
    path = Path(splits["path"])
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    tables = [each for each in files if each.suffix.lower() in TEXT_TABLES]
    if not tables:
        if path.is_file():
            return {"name": "text_table", **splits}
        return {"name": "text_folder", **splits, **({} if labels else {"labels": "none"})}
    found: dict[str, Any] = {"name": "text_table", **splits, **({"text": column} if column else {})}
    with tables[0].open(encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(1 << 20)
    try:
        there = (
            list(json.loads(line))
            if tables[0].suffix.lower() not in TABLES
            else next(csv.reader([line], delimiter="\t" if tables[0].suffix.lower() == ".tsv" else ","), [])
        )
    except (ValueError, TypeError):  # ingest says what is wrong with it
        there = []
    return {**found, **({"label": "label"} if labels and "label" in there else {})}


def _columns(path: Path, labels: bool) -> dict[str, Any]:
    """What the header of the first table says: columns of times and labels by their usual names."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.suffix.lower() in TABLES)
    if not files:
        return {}
    with files[0].open(newline="", encoding="utf-8-sig", errors="replace") as file:
        header = next(csv.reader(file, delimiter="\t" if files[0].suffix.lower() == ".tsv" else ","), [])
    found: dict[str, Any] = {}
    if time := next((name for name in header if name.lower() in TIME_NAMES), None):
        found["time"] = time
    if labels and "label" in header:
        found["label"] = "label"
    elif labels and path.is_dir() and len({each.parent for each in files}) > 1:
        found["labels"] = "folder"
    return found


def _parquet(path: Path, codec: str, column: str, labels: bool) -> dict[str, Any]:
    pattern = str(path / "**/*.parquet" if path.is_dir() else path)
    files = [Path(name) for name in sorted(glob(pattern, recursive=True))]  # noqa: PTH207 (absolute)
    if not files:
        raise UserError(f"{path}: no file matches")
    splits = {"path": str(path)}
    if path.is_dir() and all(any(file.name.startswith(word) for file in files) for word in ("train", "test")):
        splits = {"path": str(path / "**/train*.parquet"), "test_path": str(path / "**/test*.parquet")}
    try:
        with parquet.opened(files[0]) as file:
            names = file.schema_arrow.names
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{files[0]}: not a Parquet file ({error})") from None
    source, key = _PARQUET[codec]
    found = {"name": source, **splits, **({key: column} if column else {})}
    return {**found, **({"label": "label"} if labels and "label" in names else {})}
