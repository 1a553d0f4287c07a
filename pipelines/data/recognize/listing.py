"""The names below a folder, as many as it takes to know what they are."""

import os
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from pipelines.data.sources._files import reason
from pipelines.data.sources._walk import SIDECARS
from pipelines.errors import UserError
from pipelines.storage.printable import printable

LIMIT = 10_000
"""Entries that are looked at: there may be millions, and ingest lists them all."""
HEADS = 64
"""Samples whose size is looked at."""

T = TypeVar("T")


class Listing(NamedTuple):
    root: Path
    names: tuple[str, ...]
    """Files relative to the root, `/` between parts, folder by folder; hidden ones and links to folders left out."""
    complete: bool
    """Whether these are all."""

    def paths(self) -> list[Path]:
        return [self.root / name for name in self.names]


def listing(path: Path, limit: int = LIMIT) -> Listing:
    """A file, or the first `limit` entries of a folder, its own before those of the folders in it.

    Raises:
        UserError: it cannot be listed.
    """
    if not path.is_dir():
        return Listing(path.parent, (path.name,), True)
    names, folders, seen = list[str](), deque([""]), 0
    while folders and seen <= limit:
        folder = folders.popleft()
        try:
            with os.scandir(path / folder) as entries:
                found = sorted(islice(entries, limit + 1 - seen), key=lambda entry: entry.name)
            seen += len(found)
            for entry in found:
                if entry.name.startswith(".") or entry.name.lower() in SIDECARS:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{folder}{entry.name}/")
                elif entry.is_file():
                    names.append(f"{folder}{entry.name}")
        except OSError as error:
            raise UserError(f"{printable(str(path / folder))}: cannot be listed ({reason(error)})") from None
    return Listing(path, tuple(names), seen <= limit)


def spread(items: Sequence[T], count: int = HEADS) -> list[T]:
    """At most `count` of them, evenly spread."""
    return [items[len(items) * place // min(count, len(items))] for place in range(min(count, len(items)))]
