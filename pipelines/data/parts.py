"""Work on a source part by part, for ingest and embedding alike: what is done is recorded and never done again.

A part is finished when its record is there; the record is written last, so that a kill costs one part at most.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pipelines.data.sources.base import Part, Source
from pipelines.storage import outbox
from pipelines.storage.atomic import write_text
from ssl_core.config import Config

PARTS_AT_ONCE = 4096
"""Parts given to Ray Data at a time: it keeps a few kB of each for as long as it runs."""


@dataclass(frozen=True)
class Job:
    """One part and where it stands in the listing."""

    index: int
    first_id: int
    """Sample id of its first sample."""
    part: Part

    @property
    def key(self) -> str:
        return hashlib.sha256(self.dumps().encode()).hexdigest()

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Job":
        tree = json.loads(text)
        return cls(tree["index"], tree["first_id"], Part(**tree["part"]))


class PartRecord(Config):
    """00000.json: what one finished part left behind; subclasses say more."""

    key: str
    """Of the job and of all else that its outcome depends on."""
    index: int


R = TypeVar("R", bound=PartRecord)


def jobs(source: Source, shard_mb: int) -> list[Job]:
    """Every part of a source, its sample ids counted on.

    Raises:
        UserError: nothing to read.
    """
    found, first_id = [], 0
    for index, part in enumerate(source.parts(shard_mb)):
        found.append(Job(index, first_id, part))
        first_id += part.count
    return found


def at_a_time(todo: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """As many as Ray Data is given at a time."""
    for first in range(0, len(todo), PARTS_AT_ONCE):
        yield todo[first : first + PARTS_AT_ONCE]


def read_record(kind: type[R], folder: Path, index: int, key: str) -> R | None:
    """The record of an earlier, interrupted run; None: this very part was not finished."""
    path = _record_path(folder, index)
    if not path.exists():
        return None
    try:
        record = kind.model_validate_json(path.read_text())
    except ValidationError:  # written by another version
        return None
    return record if record.key == key else None


def write_record(folder: Path, record: PartRecord) -> None:
    """Say that a part is finished.

    Raises:
        OSError: `folder` cannot be written or is full.
    """
    write_text(_record_path(folder, record.index), record.model_dump_json(indent=2))


def is_whole(path: Path, num_bytes: int) -> bool:
    """Whether a file is still as long as its record says."""
    return path.exists() and path.stat().st_size == num_bytes


def cannot_write(error: OSError, folder: Path, key: str = "storage") -> str:
    return f"{key}: {error.filename or folder}: cannot be written ({error.strerror or error})"


@dataclass
class Tally:
    """How many samples were read, and how fast in this process."""

    num_read: int
    """Readable or not, those of earlier runs too."""
    num_bad: int
    _before: int = field(init=False)
    _since: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._before = self.num_read

    def log(self, folder: Path, *, step: int, total: int, **metrics: float) -> None:
        """A point of the outbox in `folder`."""
        rate = (self.num_read - self._before) / max(time.monotonic() - self._since, 1e-9)
        metrics |= {"samples_per_s": rate, "quarantined": self.num_bad}
        outbox.append(folder, step=step, total=total, metrics=metrics, final=True)


def _record_path(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.json"
