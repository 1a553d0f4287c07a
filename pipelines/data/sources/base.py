"""What a source is: raw files in, samples out, one part at a time."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pipelines.storage.printable import printable

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Part:
    """A piece of the listing that one task reads and writes as one shard."""

    split: Split | None
    """None: the source has no split of its own; ingest holds out `ingest.test_fraction`."""
    count: int
    """Samples in this part, readable or not: sample ids are counted over all parts in order."""
    what: dict[str, Any]
    """Plain values that `read` needs (paths, row ranges)."""


@dataclass(frozen=True)
class Raw:
    """One sample as the source gives it."""

    file: str
    """The file it came from, for people."""
    row: int | None = None
    """Row inside that file; None: the file is the sample."""
    data: bytes | None = None
    """Encoded bytes; None when it could not be read."""
    label: str | None = None
    error: str | None = None
    """Why data is None."""
    group: str = ""
    """What it has in common with others (speaker, machine, document): all of a group are held out, or none; empty: it
    has only equals by its bytes."""
    targets: Mapping[str, Any] = field(default_factory=dict)
    """What evaluation and fine-tuning alone may read, as pipelines/data/shards/targets.py stores it."""
    other: bool = False
    """By its name no image at all (a text beside each image): left out, and no bad sample."""

    def __post_init__(self) -> None:
        """Names come from outside; made printable here, they are so in shards, quarantine, reports and on terminals."""
        for name in ("file", "label", "error"):
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, printable(text))

    @property
    def origin(self) -> str:
        return self.file if self.row is None else f"{self.file}#{self.row}"


class Source(ABC):
    """Built as `cls(config)`; pickled into Ray tasks, so it holds plain values only."""

    remarks: tuple[str, ...] = ()
    """What people should know about the listing, one line each; set by `parts`."""
    targets: Mapping[str, Any] = {}
    """Name -> kind of the targets that its samples have beside the label."""
    fields: ClassVar[Mapping[str, str]] = {"image": "image"}
    """Field of a sample -> the codec of its bytes."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the source's data do; cheap: looks at names, sizes and times, not at content.

        Raises:
            UserError: as `parts`.
        """

    @abstractmethod
    def parts(self, shard_mb: int) -> list[Part]:
        """List the samples in a stable order, cut into parts of about `shard_mb` of input each.

        Raises:
            UserError: nothing to read: one line that names the key (`source.path`) and what to do.
        """

    @abstractmethod
    def read(self, part: Part) -> Iterator[Raw]:
        """Exactly `part.count` samples in order; one that cannot be read has `error` and no data."""


def hash_listing(listing: Iterable[object]) -> str:
    """Hash of JSON-able rows (path, size, time, ...), one after another: a source's fingerprint."""
    digest = hashlib.sha256()
    for entry in listing:
        digest.update(json.dumps(entry).encode() + b"\n")
    return digest.hexdigest()
