"""Parquet files with an image column, as Hugging Face and others publish data sets."""

import os
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data.sources._files import (
    KEYS,
    by_split,
    checked,
    cut,
    hash_files,
    missing_column,
    parts_of_files,
    read_sample,
    reason,
)
from pipelines.data.sources._targets import with_targets
from pipelines.data.sources.base import Part, Raw, Source, Split
from pipelines.errors import UserError
from pipelines.storage import parquet, parquet_pages
from pipelines.storage.printable import printable
from ssl_core.config import LocalPath, NamedConfig

BATCH_ROWS = 64
BATCH_BYTES = 512 << 20
"""Fewer rows at once where every one of them could repeat a huge value."""
BUFFER_BYTES = 1 << 20
"""Columns are streamed through a buffer of this size, so one huge row group does not fill the memory."""


class Parquet(Source):
    """Parquet files: a column of encoded bytes, of paths, or of struct{bytes, path}; optionally labels.

    Files are checked by their footer before they are opened (storage/parquet.py), and the pages of a row group by
    what they would become before they are decompressed (storage/parquet_pages.py).
    """

    class Config(NamedConfig):
        name: Literal["parquet"] = "parquet"
        path: LocalPath
        """A file, a folder (searched all the way down for *.parquet) or a pattern such as data/train-*.parquet."""
        test_path: LocalPath | None = None
        """The same for evaluation; without it `ingest.test_fraction` of the samples are held out."""
        image: str = "image"
        """Column with the images; paths start from the Parquet file's folder and must stay inside it."""
        label: str | None = None
        """Column with the labels: integers, text or booleans; null means not labelled."""
        targets: dict[str, Literal["number", "text", "spans", "boxes", "mask", "numbers"]] = {}
        """Column -> kind of other targets, for evaluation and fine-tuning; a mask is a PNG, spans and boxes JSON."""

    def __init__(self, config: Config):
        self.paths = by_split(config.path, config.test_path)
        self.image, self.label, self.targets = config.image, config.label, config.targets

    def fingerprint(self) -> str:
        return hash_files({split: self._files(split) for split in self.paths})

    def parts(self, shard_mb: int) -> list[Part]:
        return parts_of_files(
            self.paths, self._files, lambda split, root, path: self._file_parts(split, root, path, shard_mb)
        )

    def read(self, part: Part) -> Iterator[Raw]:
        path = Path(part.what["path"])
        row = part.what["first"]
        for group, count in zip(part.what["groups"], part.what["rows"], strict=True):
            end = row + count
            try:
                with _opened(path) as file:
                    largest = parquet_pages.check(path, file.metadata, group, self._columns())
                    rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, largest)))
                    for batch in file.iter_batches(rows, [group], self._columns(), use_threads=False):
                        for sample in self._rows(batch):
                            raw = self._sample(path, part.what["file"], row, sample)
                            yield with_targets(raw, self.targets, sample)
                            row += 1
            except (OSError, pa.ArrowException) as error:  # a damaged page: the rest of the row group is lost
                for lost in range(row, end):
                    yield Raw(part.what["file"], lost, error=f"row group {group} cannot be read ({reason(error)})")
            row = end

    def _columns(self) -> list[str]:
        named = [self.image] if self.label is None else [self.image, self.label]
        return list(dict.fromkeys([*named, *self.targets]))

    def _rows(self, batch: pa.RecordBatch) -> Iterable[dict[str, Any]]:
        """Each row's column -> value."""
        rows: list[dict[str, Any]] = batch.to_pylist()
        return rows

    def _check(self, schema: pa.Schema, path: Path) -> None:
        """
        Raises:
            UserError: a column is not there, or does not hold what it should.
        """
        _check(schema, path, self.image, self.label)
        for name in self.targets:
            if name not in schema.names:
                raise missing_column("source.targets", name, path, schema.names)

    def _sample(self, path: Path, file: str, row: int, sample: dict[str, Any]) -> Raw:
        image = sample[self.image]
        label = None if self.label is None or sample[self.label] is None else str(sample[self.label])
        if isinstance(image, dict):
            image = image["bytes"] if image.get("bytes") is not None else image.get("path")
        if isinstance(image, str):
            return read_sample(path.parent, image, file, row, label)
        if image is None:
            return Raw(file, row, label=label, error=f"null in column '{self.image}'")
        return Raw(file, row, data=image, label=label)

    def _file_parts(self, split: Split, root: Path, path: Path, shard_mb: int) -> Iterator[Part]:
        """One file's row groups, cut into parts."""
        try:
            with _opened(path) as file:
                self._check(file.schema_arrow, path)
                groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        except parquet.Refused as error:
            raise UserError(f"{KEYS[split]}: {error}") from None
        except pa.ArrowInvalid as error:
            raise UserError(f"{KEYS[split]}: {path}: not a Parquet file ({reason(error)})") from None
        except OSError as error:
            raise UserError(f"{KEYS[split]}: {path}: cannot be read ({reason(error)})") from None
        first, rows = 0, [group.num_rows for group in groups]
        for run in cut([_image_bytes(group, self.image) for group in groups], shard_mb, rows):
            what = {
                "path": str(path),
                "file": printable(str(path.relative_to(root.parent))),
                "groups": list(range(run.start, run.stop)),
                "rows": rows[run],
                "first": first,
            }
            if count := sum(rows[run]):
                yield Part(split if len(self.paths) > 1 else None, count, what)
            first += count

    def _files(self, split: Split) -> tuple[Path, list[Path]]:
        """(what the config names, the files under it in order).

        Raises:
            UserError: nothing there.
        """
        key, path = KEYS[split], self.paths[split]
        if has_magic(str(path)) and not path.exists():
            files = [checked(Path(found), key) for found in sorted(glob(str(path), recursive=True))]  # noqa: PTH207 (absolute)
            if not files:
                raise UserError(f"{key}: no file matches {path}")
            return Path(os.path.commonpath([file.parent for file in files])), files
        path = checked(path, key)
        if not path.is_dir():
            return path, [path]
        inside = (found for found in sorted(path.rglob("*.parquet")) if found.is_file())
        files = [f for f in inside if not any(p.startswith(".") for p in f.relative_to(path).parts)]
        if not files:
            raise UserError(f"{key}: {path} holds no *.parquet file")
        return path, files


def _opened(path: Path) -> pq.ParquetFile:
    return parquet.opened(path, buffer_size=BUFFER_BYTES, page_checksum_verification=True)


def _image_bytes(group: Any, image: str) -> int:
    columns = (group.column(index) for index in range(group.num_columns))
    return sum(c.total_compressed_size for c in columns if f"{c.path_in_schema}.".startswith(f"{image}."))


def _check(schema: pa.Schema, path: Path, image: str, label: str | None) -> None:
    """Allow only columns that hold what they should."""
    for option, name in (("source.image", image), ("source.label", label)):
        if name is not None and name not in schema.names:
            raise missing_column(option, name, path, schema.names)
        if name is not None and schema.names.count(name) > 1:
            raise UserError(f"{option}: {path} has the column '{name}' twice; rename or drop one of them")
    if not _is_image(schema.field(image).type):
        raise UserError(
            f"source.image: {path}: column '{image}' is {schema.field(image).type}; "
            "needs encoded bytes, a path, or struct{bytes, path}"
        )
    if label is not None and not is_label(schema.field(label).type):
        raise UserError(
            f"source.label: {path}: column '{label}' is {schema.field(label).type}; needs integers, text or booleans"
        )


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        allowed = {"bytes": _is_bytes, "path": _is_text}
        fields = [kind.field(index) for index in range(kind.num_fields)]
        given = [f for f in fields if not pa.types.is_null(f.type)]  # the paths of rows that have none
        return bool(given) and all(f.name in allowed and allowed[f.name](f.type) for f in given)
    return _is_bytes(kind) or _is_text(kind)


def is_label(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_text(kind)
