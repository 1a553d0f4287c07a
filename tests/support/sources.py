"""A small real input for every source, so that the contract test needs no edit but a line here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ssl_core.codecs.audio import Audio
from ssl_core.spec import MEL_AXES, ViewSpec
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


def _series_csv(folder: Path) -> dict[str, Any]:
    rows = [f"{'abcde'[i // 6]},{i},{i * i},{'' if i == 3 else i / 7},{i // 6 % 2}" for i in range(30)]
    (folder / "long.csv").write_text("\n".join(["id,t,x,y,kind", *rows]) + "\n")
    return {"path": folder / "long.csv", "id": "id", "time": "t", "label": "kind", "window": 4, "stride": 2}


def _series_parquet(folder: Path) -> dict[str, Any]:
    series = [[[float(i * t) for t in range(3 + i)], [1.0] * (3 + i)] for i in range(7)]
    table = pa.table({"series": series, "y": [i % 2 for i in range(7)]})
    pq.write_table(table, folder / "x.parquet", row_group_size=2)
    return {"path": folder / "x.parquet", "label": "y"}


def _text_folder(folder: Path) -> dict[str, Any]:
    for i in range(6):
        path = folder / "texts" / "ab"[i % 2] / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text number {i}")
    return {"path": folder / "texts"}


def _text_table(folder: Path) -> dict[str, Any]:
    lines = [json.dumps({"text": f"text number {i}", "y": i % 2}) for i in range(7)]
    (folder / "x.jsonl").write_text("\n".join([*lines[:4], "{", "", *lines[4:]]) + "\n")
    return {"path": folder / "x.jsonl", "label": "y"}


def _audio_folder(folder: Path) -> dict[str, Any]:
    codec = Audio(Audio.Config(rate=8000))
    for i, data in enumerate(codec.drawn(ViewSpec(MEL_AXES, (1, 8, 16)), 7)):
        (folder / f"{i % 2}_{'ab'[i // 4]}_{i}.flac").write_bytes(data)
    return {"path": folder, "labels": r"^(\d)_", "group": "_([a-z])_", "test_groups": ["b"]}


EXAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {  # a source that is absent here needs no settings
    "audio_folder": _audio_folder,
    "csv_manifest": _csv_manifest,
    "image_folder": _image_folder,
    "parquet": _parquet,
    "series_csv": _series_csv,
    "series_parquet": _series_parquet,
    "text_folder": _text_folder,
    "text_table": _text_table,
    "torchvision": _torchvision,
}


def example(name: str, folder: Path) -> dict[str, Any]:
    """The `source:` section of a run on a small input of this kind, made in `folder`."""
    return {"name": name, **EXAMPLES.get(name, lambda _: {})(folder)}
