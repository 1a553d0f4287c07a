"""Time series in CSV files: one per file, one per id of a long table, or windows of a long one."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from pipelines.data.sources._files import KEYS, MAX_SAMPLES, by_split, checked, cut, hash_files, reason, stamp
from pipelines.data.sources._series.rows import Piece, series_of
from pipelines.data.sources._series.scan import Run, runs_of
from pipelines.data.sources._series.table import Bad, Columns, columns_of
from pipelines.data.sources.base import Part, Raw, Source, Split
from pipelines.errors import UserError
from pipelines.storage.printable import printable
from ssl_core.config import NamedConfig

SUFFIXES = (".csv", ".tsv")
SPLITS: tuple[Split, Split] = ("train", "test")


class SeriesCsv(Source):
    """CSV files with a row per time step and a column per channel; optionally ids, times, labels, windows.

    Every file has a header line and is read block by block. Cells that are empty, NaN, NA or null are missing values.
    Rows are counted from 0 below the header.
    """

    fields = {"series": "series"}

    class Config(NamedConfig):
        name: Literal["series_csv"] = "series_csv"
        path: Path
        """A CSV (or tab-separated .tsv) file, or a folder that is searched all the way down for them."""
        test_path: Path | None = None
        """The same for evaluation; without it `ingest.test_fraction` of the samples are held out."""
        id: str | None = None
        """Column that tells the series of a file apart; rows of one id lie together. None: a file is one series."""
        values: tuple[str, ...] = ()
        """Columns of the channels; by default all but those below whose first value is a number."""
        time: str | None = None
        """Column of times, ever later: whole numbers as they are; seconds with a fraction or dates as nanoseconds."""
        label: str | None = None
        """Column of the label: the first one that a sample has."""
        labels: Literal["folder", "none"] = "none"
        """folder: the first-level folder's name is the label."""
        group: str | None = None
        """Column of what samples share (machine, person, place); by default windows share their series."""
        window: PositiveInt | None = None
        """Rows of a sample, cut from a longer series; the last one ends with the series. None: a series is a sample."""
        stride: PositiveInt | None = None
        """Rows from one window to the next; by default `window`."""
        test_tail: Annotated[float, Field(gt=0, lt=1)] | None = None
        """Share of each series, its end, that is held out for evaluation; no window has rows of both sides. None: whole
        series are held out (`ingest.test_fraction`), which a single series does not allow."""

        @model_validator(mode="after")
        def _fits_together(self) -> Self:
            if self.stride is not None and self.window is None:
                raise ValueError("stride needs a window")
            if self.test_tail is not None and (self.window is None or self.test_path is not None):
                raise ValueError("test_tail needs a window, and no test_path")
            if self.label is not None and self.labels == "folder":
                raise ValueError("label and labels: folder exclude each other")
            return self

    def __init__(self, config: Config):
        self.paths = by_split(config.path, config.test_path)
        self.config = config

    def fingerprint(self) -> str:
        return hash_files({split: self._files(split) for split in self.paths})

    def parts(self, shard_mb: int) -> list[Part]:
        found = []
        for split in self.paths:
            root, files = self._files(split)
            if self.config.id is None and self.config.window is None and self.config.group is None and len(files) > 1:
                runs = [Run(str(path.relative_to(root)), stamp(path)[0]) for path in files]
            else:
                runs = [run for path in files for run in self._scanned(split, root, path)]
            sides: dict[bool | None, list[Run]] = {}
            for run in runs:
                sides.setdefault(run.test, []).append(run)
            for test, mine in sides.items():
                given = split if len(self.paths) > 1 else None if test is None else SPLITS[test]
                sizes, counts = [run.num_bytes for run in mine], [run.windows for run in mine]
                for some in cut(sizes, shard_mb, counts):
                    what = {"split": split, "runs": [list(run) for run in mine[some]]}
                    found.append(Part(given, sum(counts[some]), what))
        return found

    def read(self, part: Part) -> Iterator[Raw]:
        split: Split = part.what["split"]
        root, _ = self._root(split)
        known: tuple[str, Columns | str] = ("", "")
        for run in (Run(*given) for given in part.what["runs"]):
            path = root / run.file
            file = printable(run.file if root == self.paths[split].parent else f"{root.name}/{run.file}")
            if known[0] != run.file:
                known = (run.file, self._columns(path))
            folder, slash, _ = run.file.partition("/")
            label = printable(folder) if self.config.labels == "folder" and slash else None
            if isinstance(known[1], str):
                lost = [Piece(place, error=known[1]) for place in run.starts(self.config.window, self.config.stride)]
                pieces: Any = iter(lost)
            else:
                pieces = series_of(path, known[1], run, self.config)
            for piece in pieces:
                row = None if run.rows is None else piece.row
                group = piece.group or (f"{file}#{run.first}" if self.config.window else None)
                yield Raw(file, row, piece.data, piece.label or label, piece.error, group or "")

    def _columns(self, path: Path) -> Columns | str:
        others = {f"source.{key}": getattr(self.config, key) for key in ("id", "label", "group")}
        try:
            return columns_of(path, self.config.values, self.config.time, others)
        except (Bad, OSError) as error:
            return reason(error)

    def _scanned(self, split: Split, root: Path, path: Path) -> Iterator[Run]:
        """The series of one file, cut so that none has more than MAX_SAMPLES windows.

        Raises:
            UserError: not a table, or rows of one id lie apart.
        """
        columns = self._columns(path)
        if isinstance(columns, str):
            raise UserError(f"{KEYS[split]}: {path}: {columns}")
        give = partial(runs_of, path, str(path.relative_to(root)), columns, self.config.id)
        try:
            yield from give(self.config.window, self.config.stride, MAX_SAMPLES, self.config.test_tail)
        except (Bad, OSError) as error:
            raise UserError(f"{KEYS[split]}: {path}: {reason(error)}") from None

    def _root(self, split: Split) -> tuple[Path, bool]:
        path = checked(self.paths[split], KEYS[split])
        return (path, True) if path.is_dir() else (path.parent, False)

    def _files(self, split: Split) -> tuple[Path, list[Path]]:
        """(folder, its tables in order), after a look at the first one.

        Raises:
            UserError: nothing there, or it has not the columns that the config names.
        """
        key, (root, is_folder) = KEYS[split], self._root(split)
        files = [checked(self.paths[split], key)]
        if is_folder:
            files = [
                Path(folder, name)
                for folder, _, names in os.walk(root)
                for name in names
                if name.lower().endswith(SUFFIXES)
            ]
            hidden = [path for path in files if any(p.startswith(".") for p in path.relative_to(root).parts)]
            files = sorted(set(files) - set(hidden), key=lambda path: path.relative_to(root).as_posix())
            if not files:
                raise UserError(f"{key}: {root} holds no *.csv or *.tsv file")
        columns = self._columns(files[0])
        if isinstance(columns, str) and not is_folder:
            raise UserError(f"{key}: {files[0]}: {columns}")
        return root, files
