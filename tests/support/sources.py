"""A small real input for every source, so that the contract test needs no edit but a line here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.images import encoded, good_tree


def _image_folder(folder: Path) -> dict[str, Any]:
    return {"path": good_tree(folder)}


def _parquet(folder: Path) -> dict[str, Any]:
    table = pa.table({"image": [encoded(i) for i in range(7)], "y": [i % 2 for i in range(7)]})
    pq.write_table(table, folder / "x.parquet", row_group_size=2)
    return {"path": folder / "x.parquet", "label": "y"}


def _csv_manifest(folder: Path) -> dict[str, Any]:
    files = sorted(path.relative_to(folder) for path in good_tree(folder).rglob("*.*"))
    (folder / "list.csv").write_text("path\n" + "\n".join(map(str, files)))
    return {"path": folder / "list.csv"}


def _torchvision(folder: Path) -> dict[str, Any]:
    return {"dataset": "FakeData", "root": folder, "options": {"size": 5, "image_size": [3, 8, 8]}}


EXAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {  # a source that is absent here needs no settings
    "csv_manifest": _csv_manifest,
    "image_folder": _image_folder,
    "parquet": _parquet,
    "torchvision": _torchvision,
}


def example(name: str, folder: Path) -> dict[str, Any]:
    """The `source:` section of a run on a small input of this kind, made in `folder`."""
    return {"name": name, **EXAMPLES.get(name, lambda _: {})(folder)}
