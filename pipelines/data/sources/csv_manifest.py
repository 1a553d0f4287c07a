"""A CSV table of image paths, with labels if there are any."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TextIO

from pipelines.data.sources._files import KEYS, by_split, checked, cut, missing_column, read_sample, reason, stamp
from pipelines.data.sources._targets import with_targets
from pipelines.data.sources.base import Part, Raw, Source, Split, hash_listing
from pipelines.errors import UserError
from ssl_core.config import LocalPath, NamedConfig

MAX_LINE = 1 << 20


class CsvManifest(Source):
    """Images named in a CSV (or tab-separated .tsv) table with a header line, optionally labelled."""

    class Config(NamedConfig):
        name: Literal["csv_manifest"] = "csv_manifest"
        path: LocalPath
        """The table; UTF-8."""
        test_path: LocalPath | None = None
        """A second table, held out for evaluation; without it `ingest.test_fraction` of the samples are."""
        image: str = "path"
        """Column that holds the path of each image."""
        label: str | None = None
        """Column that holds the label; an empty cell means not labelled."""
        targets: dict[str, Literal["number", "text", "spans", "boxes", "numbers"]] = {}
        """Column -> kind of other targets, for evaluation and fine-tuning; spans, boxes and numbers are JSON."""
        root: LocalPath | None = None
        """Folder that paths start from and must stay inside; by default the table's own."""
        follow_links: bool = False
        """Let links lead outside that folder, as those of caches do; the paths themselves may not."""

    def __init__(self, config: Config):
        self.tables = by_split(config.path, config.test_path)
        self.image, self.label, self.follow_links = config.image, config.label, config.follow_links
        self.targets = config.targets
        self.root = config.root and config.root.expanduser().absolute()

    def fingerprint(self) -> str:
        return hash_listing(
            [split, *row, *stamp(self._root(split) / row[0])] for split in self.tables for row in self._rows(split)
        )

    def parts(self, shard_mb: int) -> list[Part]:
        parts = []
        for split in self.tables:
            root, rows = self._root(split), list(self._rows(split))
            if not rows:
                raise UserError(f"{KEYS[split]}: {self.tables[split]} has a header but no rows")
            for run in cut([stamp(root / path)[0] for path, *_ in rows], shard_mb):
                what = {"split": split, "first": run.start, "rows": rows[run]}
                parts.append(Part(split if len(self.tables) > 1 else None, run.stop - run.start, what))
        return parts

    def read(self, part: Part) -> Iterator[Raw]:
        split: Split = part.what["split"]
        root = self._root(split)
        for row, (path, label, *cells) in enumerate(part.what["rows"], start=part.what["first"]):
            if path:
                yield with_targets(
                    read_sample(root, path, path, row, label or None, self.follow_links),
                    self.targets,
                    dict(zip(self.targets, cells, strict=True)),
                )
            else:
                yield Raw(self.tables[split].name, row, label=label or None, error=f"no path in column '{self.image}'")

    def _root(self, split: Split) -> Path:
        if self.root is not None:
            return checked(self.root, "source.root")
        return checked(self.tables[split], KEYS[split]).parent

    def _rows(self, split: Split) -> Iterator[tuple[str, ...]]:
        """(path, label, targets) of each row; "" where there is none.

        Raises:
            UserError: not a readable CSV table, or without the columns that the config names.
        """
        key, path = KEYS[split], checked(self.tables[split], KEYS[split])
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                table = csv.DictReader(_lines(file), delimiter="\t" if path.suffix == ".tsv" else ",")
                columns = list(table.fieldnames or ())
                for option, column in (
                    ("source.image", self.image),
                    ("source.label", self.label),
                    *(("source.targets", name) for name in self.targets),
                ):
                    if column is not None and column not in columns:
                        raise missing_column(option, column, path, columns)
                for row in table:
                    cells = (row[name] or "" for name in self.targets)
                    yield row[self.image] or "", (row[self.label] or "") if self.label else "", *cells
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{key}: {path}: not a readable CSV table ({reason(error)})") from None


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file; one without end (some other kind of file) is refused before it fills the memory."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith("\n"):
            raise csv.Error(f"a line of more than {MAX_LINE} characters")
        yield line
