"""Row groups of shards, read one after the other by a read task; a read that hangs is reported with its file."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data.shards.schema import must_be_samples
from pipelines.errors import UserError
from pipelines.storage import outbox, parquet
from pipelines.storage.retry import noted_in, patiently


class Group(NamedTuple):
    """A row group as a task finds it."""

    path: str
    number: int


class RowGroups:
    """Reads row groups; a file stays open while its row groups are asked for in turn.

    Args:
        stage: folder whose outbox is told of slow reads; None: nobody is.
        slow_seconds: what counts as slow.
    """

    def __init__(self, stage: Path | None, slow_seconds: float):
        self._stage, self._slow_seconds = stage, slow_seconds
        self._open: tuple[str, pq.ParquetFile] | None = None
        self._reading: tuple[Group, float] | None = None
        self._over = Event()

    def __enter__(self) -> "RowGroups":
        if self._stage is not None:
            Thread(target=self._watch, args=(self._stage,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._close()

    def read(self, group: Group, columns: Sequence[str]) -> pa.Table:
        """One row group; pre-training sees sample ids and the fields of its views, and no other column.

        Raises:
            UserError: it cannot be read, the file is not one of our shards, or the storage fails and stays so.
        """
        self._reading = group, time.monotonic()
        try:
            return patiently(lambda: self._read(group, columns), noted_in(self._stage))
        except OSError as error:
            raise UserError(
                f"{group.path}: row group {group.number} cannot be read ({error.strerror}); run the same command again "
                "when the storage is back"
            ) from None
        finally:
            self._reading = None

    def _read(self, group: Group, columns: Sequence[str]) -> pa.Table:
        """
        Raises:
            UserError: the file is gone or damaged; OSError: the storage fails just now.
        """
        try:
            # Reading takes as long as handing it to another thread; the file is mapped, so nothing is fetched ahead.
            return self._file(group.path).read_row_group(group.number, columns=list(columns), use_threads=False)
        except (OSError, pa.ArrowInvalid) as error:
            self._close()  # what was opened before the storage failed may stay stale
            # without a number it is pyarrow that speaks, of bytes that it has read
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
                raise
            said, remedy = " ".join(str(error).split()), parquet.again(Path(group.path))
            raise UserError(f"{group.path}: row group {group.number} cannot be read: {said}; {remedy}") from None

    def _file(self, path: str) -> pq.ParquetFile:
        if self._open is None or self._open[0] != path:
            self._close()
            file = parquet.opened(Path(path), memory_map=True, pre_buffer=False)
            self._open = path, file
            must_be_samples(file, Path(path))
        return self._open[1]

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _watch(self, stage: Path) -> None:
        """Say which file it is when a read takes very long: the trainer only sees that no batch comes."""
        told = None
        while not self._over.wait(self._slow_seconds / 4):
            reading = self._reading
            if reading is None or reading == told or time.monotonic() - reading[1] < self._slow_seconds:
                continue
            group, told = reading[0], reading
            what = f"reading {group.path} (row group {group.number})"
            with suppress(OSError):  # the same storage may take no notes
                outbox.note(stage, f"slow storage: {what} has taken {self._slow_seconds:g} s and is not done")
