"""Folders of plain data, as people have them: images, tables and Parquet files."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ssl_core.codecs.series import Series
from tests.support.images import encoded, write_tree


def pictures(
    root: Path, count: int = 40, side: int = 32, classes: Sequence[str] = ("a", "b"), channels: int = 3
) -> Path:
    return write_tree(
        root,
        {f"{classes[i % len(classes)]}/{i:03d}.png": encoded(i, side, side, channels=channels) for i in range(count)},
    )


def waves(count: int, rows: int, channels: int = 1) -> list[np.ndarray]:
    """[T, C] each."""
    draw, steps = np.random.default_rng(0), np.arange(rows)[:, None]
    return [
        np.sin(steps / draw.uniform(2, 9, channels)) + 0.1 * draw.normal(size=(rows, channels)) for _ in range(count)
    ]


def table(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def series_files(root: Path, count: int = 20, rows: int = 40, channels: int = 2) -> Path:
    """A table per series in two class folders."""
    for index, values in enumerate(waves(count, rows, channels)):
        columns = {f"x{channel}": values[:, channel].tolist() for channel in range(channels)}
        table(root / ("up", "down")[index % 2] / f"{index:03d}.csv", columns)
    return root


def parquet(path: Path, columns: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path)
    return path


def stored_series(count: int, rows: int, channels: int) -> list[bytes]:
    codec = Series(Series.Config())
    return [codec.encode(values) for values in waves(count, rows, channels)]
