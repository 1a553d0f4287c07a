"""Tables with a column of text: JSON Lines, CSV, Parquet, or plain lines."""

import csv
from collections.abc import Iterator
from glob import has_magic
from pathlib import Path
from typing import Any, Literal

from pipelines.data.sources._files import (
    KEYS,
    by_split,
    checked,
    cut,
    hash_files,
    missing_column,
    parts_of_files,
    reason,
)
from pipelines.data.sources._targets import with_targets
from pipelines.data.sources._text import rows
from pipelines.data.sources._text.parquet import TextParquet
from pipelines.data.sources._text.rows import LINE, LINES, OBJECTS, TABLES, Row
from pipelines.data.sources.base import Part, Raw, Source, Split
from pipelines.data.sources.parquet import Parquet
from pipelines.errors import UserError
from pipelines.storage.printable import printable
from ssl_core.config import LocalPath, NamedConfig

SUFFIXES = (*OBJECTS, *TABLES, *LINES)


class TextTable(Source):
    """A text per row of JSON Lines, CSV or Parquet files, or per line of .txt files; optionally labelled.

    Which format a file has is said by its suffix. Blank lines are no rows; a row without text is a bad sample.
    """

    fields = {"text": "text"}

    class Config(NamedConfig):
        name: Literal["text_table"] = "text_table"
        path: LocalPath
        """A file (.jsonl, .csv, .tsv, .parquet, .txt), a folder of files of one of these kinds, or a pattern of Parquet
        files such as data/train-*.parquet."""
        test_path: LocalPath | None = None
        """The same for evaluation; without it `ingest.test_fraction` of the samples are held out."""
        text: str = "text"
        """Column, or key of the JSON objects, with the text; not read of .txt, where each line is one."""
        label: str | None = None
        """Column with the label: text, integers or booleans; an empty cell or null means not labelled."""
        group: str | None = None
        """Column of what samples share (document, author), for JSON Lines and CSV: held out together."""
        targets: dict[str, Literal["number", "text", "spans", "numbers"]] = {}
        """Column -> kind of other targets, for evaluation and fine-tuning; in CSV spans and numbers are JSON."""

    def __init__(self, config: Config):
        self.paths = by_split(config.path, config.test_path)
        self.text, self.label, self.group = config.text, config.label, config.group
        self.targets = config.targets
        self._parquet: TextParquet | None = None
        if any(_is_parquet(path) for path in self.paths.values()):
            if config.group is not None:
                raise UserError("source.group: is read of JSON Lines and CSV, not of Parquet; leave it out")
            read: dict[str, Any] = {"image": config.text, **config.model_dump(exclude={"name", "text", "group"})}
            self._parquet = TextParquet(Parquet.Config(**read))

    def fingerprint(self) -> str:
        if self._parquet:
            return self._parquet.fingerprint()
        return hash_files({split: self._files(split) for split in self.paths})

    def parts(self, shard_mb: int) -> list[Part]:
        if self._parquet:
            return self._parquet.parts(shard_mb)
        return parts_of_files(
            self.paths, self._files, lambda split, root, path: self._file_parts(split, root, path, shard_mb)
        )

    def read(self, part: Part) -> Iterator[Raw]:
        if self._parquet:
            yield from self._parquet.read(part)
            return
        path, file, first = Path(part.what["path"]), part.what["file"], part.what["first"]
        given = 0
        try:
            for row in rows.rows(path, part.what["start"]):
                if given == part.count:
                    return
                yield self._sample(path, file, first + given, row)
                given += 1
        except (OSError, csv.Error) as error:
            for lost in range(given, part.count):
                yield Raw(file, first + lost, error=f"cannot be read ({reason(error)})")
            return
        for lost in range(given, part.count):  # it became shorter since it was listed
            yield Raw(file, first + lost, error="no longer there: the file has changed")

    def _sample(self, path: Path, file: str, number: int, row: Row) -> Raw:
        if row.error:
            return Raw(file, number, error=row.error)
        column = LINE if path.suffix.lower() in LINES else self.text
        label, group = (_plain(row.cells.get(name)) if name else None for name in (self.label, self.group))
        if column not in row.cells:
            return Raw(file, number, label=label, error=f"no key '{column}'", group=group or "")
        text = row.cells[column]
        try:
            data = text.encode() if isinstance(text, str) else text
        except UnicodeEncodeError:
            data = None
            text = "half a surrogate pair"
        if not isinstance(data, bytes):
            what = "null" if text is None else text if isinstance(text, str) else type(text).__name__
            return Raw(file, number, label=label, error=f"{what} in '{column}'; needs text", group=group or "")
        raw = Raw(file, number, data, label, group=group or "")
        return with_targets(raw, self.targets, {name: _cell(row.cells.get(name)) for name in self.targets})

    def _file_parts(self, split: Split, root: Path, path: Path, shard_mb: int) -> Iterator[Part]:
        """One file's rows, cut into parts; a pass over the file finds where rows begin.

        Raises:
            UserError: it cannot be read, or lacks a column.
        """
        key = KEYS[split]
        try:
            self._check(path)
            ends = [row.end for row in rows.rows(path)]
        except csv.Error as error:
            raise UserError(f"{key}: {path}: not a readable CSV table ({reason(error)})") from None
        except OSError as error:
            raise UserError(f"{key}: {path}: cannot be read ({reason(error)})") from None
        starts = [0, *ends][:-1]
        for run in cut([end - start for start, end in zip(starts, ends, strict=True)], shard_mb):
            what = {
                "path": str(path),
                "file": printable(str(path.relative_to(root.parent))),
                "first": run.start,
                "start": starts[run.start],
            }
            yield Part(split if len(self.paths) > 1 else None, run.stop - run.start, what)

    def _check(self, path: Path) -> None:
        there = rows.columns(path)
        if there is None:  # each JSON object has keys of its own
            return
        named = {"source.text": None if path.suffix.lower() in LINES else self.text}
        named |= {"source.label": self.label, "source.group": self.group}
        for option, name in (*named.items(), *((f"source.targets.{name}", name) for name in self.targets)):
            if name is not None and name not in there:
                raise missing_column(option, name, path, there)
            if name is not None and there.count(name) > 1:
                raise UserError(f"{option}: {path} has the column '{name}' twice; rename or drop one of them")

    def _files(self, split: Split) -> tuple[Path, list[Path]]:
        """(what the config names, the files under it in order).

        Raises:
            UserError: nothing there, or files of several kinds.
        """
        key = KEYS[split]
        path = checked(self.paths[split], key)
        if not path.is_dir():
            if path.suffix.lower() not in SUFFIXES:
                known = " ".join((*SUFFIXES, ".parquet"))
                raise UserError(f"{key}: {path}: ends in '{path.suffix}'; text is read from files that end in {known}")
            return path, [path]
        files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file()]
        files = [f for f in files if not any(p.startswith(".") for p in f.relative_to(path).parts)]
        if not files:
            raise UserError(f"{key}: {path} holds no file that ends in {' '.join((*SUFFIXES, '.parquet'))}")
        if len(kinds := sorted({file.suffix.lower() for file in files})) > 1:
            raise UserError(f"{key}: {path} holds files of several kinds ({' '.join(kinds)}); give those of one")
        return path, files


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() == ".parquet" or (has_magic(str(path)) and not path.exists()):
        return True
    return path.is_dir() and next(path.rglob("*.parquet"), None) is not None


def _plain(value: Any) -> str | None:
    """A label or a group."""
    cell = _cell(value)
    return str(cell) if cell is not None and str(cell) else None


def _cell(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
