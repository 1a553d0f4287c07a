"""Decoded pixels on a node, shared by whoever reads the same row groups: one file per row group. Free of Ray.

Only whole pictures are kept. How far a JPEG shrinks while it is decoded depends on the crop that is drawn, so those
that shrink are decoded each time. What is kept are the decoder's own bytes, so a view made of them is the same view.

The files (pixel_file.py) lie in the node's temp folder: the kernel keeps them in memory while there is room,
and when others need it takes it back. Nobody else may read them, and nothing in them is unpickled.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import PIL
import psutil

from pipelines.data.batches import pixel_file
from pipelines.data.batches.pixel_file import Pixels
from pipelines.data.batches.row_groups import Group
from pipelines.errors import UserError
from pipelines.storage import lock, permissions
from ssl_core.codecs._image.opencv import cv2
from ssl_core.config import Config

MADE_BY = f"1, opencv {cv2.__version__}, pillow {PIL.__version__}"
"""Of the file's layout, and of all that decides which pixels come out of a decoder."""
KEY = "tune.decoded_cache_mb"
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_PATIENCE_S = 30  # for what takes another process microseconds


class Usage(NamedTuple):
    """How much of its budget a node has used, in bytes."""

    used: int
    limit: int
    is_full: bool
    """Something was refused; nothing more is taken in."""


class DecodedCache(Config):
    """Names a folder, on every node one of its own, which is made when the first row group is kept."""

    name: str
    """Says which shards, and by what they are decoded (`MADE_BY`)."""
    limit_mb: int | None
    """Per node; None: a quarter of the memory that is free on it, at most half of its temp folder's room."""

    @property
    def folder(self) -> Path:
        return _root() / self.name

    def find(self, group: Group) -> Pixels | None:
        """None: it is not kept, or torn.

        Raises:
            UserError: the folder is another user's.
        """
        return pixel_file.opened(self._path(group))

    def keep(
        self, group: Group, images: Sequence[bytes], max_pixels: int, note: Callable[[str], None]
    ) -> Pixels | None:
        """Decode a row group and keep it.

        Args:
            images: all n of it, as stored.
            max_pixels: see `decode`.
            note: told, once per node, that there is no more room.
        Returns: None where another process is at it, or there is no room.
        Raises:
            UserError: as in `find`, or not even a few bytes can be written there.
        """
        path = self._path(group)
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            with lock.tried(path.with_suffix(".lock")) as is_ours:
                if not is_ours:
                    return None
                if (made_since := pixel_file.opened(path)) is not None:
                    return made_since
                shapes = pixel_file.shapes_of(images, max_pixels)
                if self._reserve(pixel_file.num_bytes(shapes), note):
                    pixel_file.write(path, images, shapes, max_pixels)
                return pixel_file.opened(path)
        except OSError as error:
            self._give_up(f"{error.strerror or error}", note)
            return None

    def usage(self) -> Usage | None:
        """Of this node; None: nothing was kept yet."""
        with suppress(FileNotFoundError):
            return Usage(**json.loads(self._ledger.read_text()))
        return None

    @property
    def is_full(self) -> bool:
        return (usage := self.usage()) is not None and usage.is_full

    def remove(self) -> Usage | None:
        """Delete it on this node; gives what it held."""
        usage = self.usage()
        shutil.rmtree(self.folder, ignore_errors=True)
        return usage

    @property
    def _ledger(self) -> Path:
        return self.folder / "usage.json"

    def _path(self, group: Group) -> Path:
        return self.folder / f"{hashlib.sha256(group.path.encode()).hexdigest()[:16]}-{group.number}.pixels"

    def _reserve(self, num_bytes: int, note: Callable[[str], None]) -> bool:
        """Whether the budget has so much left; then it is taken. A writer that is killed takes it along."""
        with lock.alone(self.folder / "usage.lock", _PATIENCE_S):
            usage = self.usage() or Usage(0, self._limit(), False)
            if usage.used + num_bytes <= usage.limit:
                self._record(usage._replace(used=usage.used + num_bytes))
                return True
            if not usage.is_full:
                self._record(usage._replace(is_full=True))
                note(
                    f"decoded pixels: {usage.used >> 20} MB are kept on this node, its budget is {usage.limit >> 20} "
                    f"MB ({KEY}); the rest is decoded each time"
                )
            return False

    def _give_up(self, reason: str, note: Callable[[str], None]) -> None:
        """The disk let us down: what is kept is used, and no more is written."""
        try:
            with lock.alone(self.folder / "usage.lock", _PATIENCE_S):
                usage = self.usage() or Usage(0, 0, False)
                self._record(usage._replace(is_full=True))
        except OSError:
            raise UserError(f"{KEY}: {self.folder}: cannot be written ({reason}); set it to 0") from None
        note(f"decoded pixels: {self.folder}: cannot be written ({reason}); the rest is decoded each time")

    def _record(self, usage: Usage) -> None:
        aside = self._ledger.with_suffix(".part")
        aside.write_text(json.dumps(usage._asdict()))
        aside.replace(self._ledger)

    def _limit(self) -> int:
        if self.limit_mb is not None:
            return self.limit_mb << 20
        memory = psutil.virtual_memory().available
        with suppress(OSError, ValueError):  # no cgroups, or "max"
            memory = min(memory, int(_CGROUP_LIMIT.read_text()))
        return min(memory // 4, shutil.disk_usage(self.folder).free // 2)


def _root() -> Path:
    """Ours alone, or somebody could have put pixels there."""
    return permissions.folder(Path(tempfile.gettempdir()) / f"selfray-decoded-{os.getuid()}")
