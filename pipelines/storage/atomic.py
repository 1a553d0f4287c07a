"""Files that appear under their name only when they are complete: written beside, flushed to the disk, renamed.

Each writer has a file of its own, so two of the same name do not disturb each other: the last one stays.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING
from uuid import uuid4

from pipelines.storage import journal

if TYPE_CHECKING:
    from torch import Tensor

ASIDE = ".aside"
"""How the name of a file ends that is being written, or that a kill has left."""


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; without an error, what lies there then replaces `path`.

    Raises:
        OSError: the storage is full or not writable; `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid4().hex}{ASIDE}")
    try:
        yield part
        journal.flush(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def write_aside(path: Path) -> Iterator[IO[bytes]]:
    """The same as an open file."""
    with aside(path) as part, part.open("wb") as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Replace a text file. Raises as `aside`."""
    with write_aside(path) as file:
        file.write(text.encode())


def write_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: dict[str, str] | None = None) -> None:
    """Replace a file of safetensors. Raises as `aside`, and SafetensorError where the storage is full."""
    from safetensors.torch import save_file  # not at the top: read tasks import no torch

    with aside(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata)
