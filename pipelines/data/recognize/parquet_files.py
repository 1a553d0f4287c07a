"""Parquet files: a column of images, of their paths, or of time series."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa

from pipelines.data.recognize import images, texts
from pipelines.data.recognize.found import LABELS, Images, Texts, TimeSeries, count
from pipelines.data.recognize.kinds import is_image, kind_of_suffix, no_source, suffix_of
from pipelines.data.recognize.listing import HEADS, Listing
from pipelines.data.recognize.series import Series, found
from pipelines.data.recognize.splits import by_role, pattern
from pipelines.data.sources._files import read_inside, reason
from pipelines.data.sources.parquet import is_label
from pipelines.errors import UserError
from pipelines.storage import parquet, parquet_pages
from pipelines.storage.printable import printable
from ssl_core.codecs._series.stored import series_extent
from ssl_core.codecs.base import DecodeError

MAX_FOOTERS = 1000
"""Files whose rows are counted."""


def recognize(listed: Listing, path: Path) -> Images | TimeSeries | Texts:
    """
    Raises:
        UserError: not Parquet, or without a column of images or of time series.
    """
    files = [each for each in listed.paths() if suffix_of(each.name) == ".parquet"]
    roles = by_role(files)
    train = roles.get("train", files)
    complete = listed.complete and len(train) <= MAX_FOOTERS
    number = sum(_num_rows(each) for each in train[:MAX_FOOTERS])
    rows = _first_rows(train[0])
    where = {"path": pattern(train), "test_path": pattern(roles["test"])} if roles else {"path": str(path)}
    label = next((name for name in LABELS if name in rows.schema.names and _is_label(rows, name)), None)
    more = {"label": label} if label else {}
    labels = [f"column '{label}' holds the labels"] if label else []
    if number == 0:
        raise no_source(train[0], "has no rows")
    if columns := [name for name in rows.schema.names if _images(rows, name, train[0].parent)]:
        column = "image" if "image" in columns else columns[0]
        sizes, gray = images.looked(_images(rows, column, train[0].parent))
        if not sizes:
            raise no_source(train[0], f"none of the images looked at in column '{column}' can be read")
        source = {"name": "parquet", **where, "image": column, **more}
        what = f"{count(number, complete)} images in {_files(train)}"
        num_train = (number if roles else round((1 - images.HELD_OUT) * number)) if complete else None
        assumed = (", ".join([f"column '{column}' holds the images", *labels]),)
        return Images(source, what, num_train, assumed, sizes=sizes, gray=gray)
    if columns := [name for name in rows.schema.names if _extents(rows, name)]:
        column = "series" if "series" in columns else columns[0]
        extents = _extents(rows, column)
        listed_twice = pa.types.is_nested(rows.schema.field(column).type) and _depth(rows.schema.field(column).type) > 1
        order = {}
        if listed_twice and all(outer > inner for outer, inner in extents):
            order, extents = {"order": "time_channel"}, [(inner, outer) for outer, inner in extents]
        channels = {outer for outer, _ in extents}
        if len(channels) > 1:
            raise no_source(train[0], f"the series in column '{column}' differ in channels ({sorted(channels)[:4]})")
        source = {"name": "series_parquet", **where, "series": column, **order, **more}
        assumed = (", ".join([f"column '{column}' holds the series", *labels]),)
        length = median(rows for _, rows in extents)
        given = Series(source, number, complete, length, channels.pop(), (), bool(roles), assumed)
        return found(given, cut=False)
    cells = {n: rows.column(n).to_pylist() for n in rows.schema.names if pa.types.is_string(rows.schema.field(n).type)}
    if text := texts.column_of(cells):
        source = {"name": "text_table", **where, "text": text, **more}
        what = f"{count(number, complete)} texts in {_files(train)}"
        some = [cell for cell in cells[text] if cell]
        return texts.found(source, what, number if complete else None, some, texts.said(text, label), held=bool(roles))
    kinds = ", ".join(f"{printable(field.name)}: {field.type}" for field in rows.schema)
    raise no_source(train[0], f"no column holds images, their paths, time series or texts ({kinds[:300]})")


def _files(files: Sequence[Path]) -> str:
    return printable(files[0].name) if len(files) == 1 else f"{len(files):,} Parquet files"


def _num_rows(path: Path) -> int:
    with _opened(path) as file:
        number: int = file.metadata.num_rows
        return number


def _opened(path: Path) -> Any:
    try:
        return parquet.opened(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"{printable(str(path))}: not a Parquet file ({reason(error)})") from None
    except OSError as error:
        raise UserError(f"{printable(str(path))}: cannot be read ({reason(error)})") from None


def _first_rows(path: Path) -> pa.RecordBatch:
    """Some rows of the first row group."""
    with _opened(path) as file:
        try:
            if file.num_row_groups:
                parquet_pages.check(path, file.metadata, 0, file.schema_arrow.names)
                for batch in file.iter_batches(HEADS, [0], use_threads=False):
                    return batch
            return pa.RecordBatch.from_pylist([], file.schema_arrow)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{printable(str(path))}: its first rows cannot be read ({reason(error)})") from None


def _is_label(rows: pa.RecordBatch, name: str) -> bool:
    kind: bool = is_label(rows.schema.field(name).type)
    return kind


def _images(rows: pa.RecordBatch, column: str, folder: Path) -> list[bytes]:
    """The images of a column, by its bytes or by the paths in it; none: it holds others."""
    kind = rows.schema.field(column).type
    if not (pa.types.is_struct(kind) or _is_bytes(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return []
    made = []
    for value in rows.column(rows.schema.get_field_index(column)).to_pylist():
        given = value
        if isinstance(given, dict):
            given = given.get("bytes") if given.get("bytes") is not None else given.get("path")
        if isinstance(given, str):
            given = read_inside(folder, given) if kind_of_suffix(suffix_of(given)) == "image" else None
        if isinstance(given, bytes) and is_image(given):
            made.append(given)
    return made if 2 * len(made) > rows.num_rows else []


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _depth(kind: pa.DataType) -> int:
    return 1 + _depth(kind.value_type) if _is_list(kind) else 0


def _extents(rows: pa.RecordBatch, column: str) -> list[tuple[int, int]]:
    """(channels, rows) of the series of a column of lists of numbers or of safetensors; none: it holds others."""
    kind = rows.schema.field(column).type
    values = rows.column(rows.schema.get_field_index(column))
    if _is_bytes(kind):
        try:
            extents = [series_extent(each) for each in values.to_pylist() if each]
            return [(channels, steps) for steps, channels in extents]
        except DecodeError:
            return []
    inner = kind
    while _is_list(inner):
        inner = inner.value_type
    if _depth(kind) not in (1, 2) or not (pa.types.is_floating(inner) or pa.types.is_integer(inner)):
        return []
    given = [each.values for each in values if each.is_valid and len(each.values)]
    if _depth(kind) == 1:
        return [(1, len(each)) for each in given]
    return [(len(each), len(each[0].values) if each[0].is_valid else 0) for each in given]
