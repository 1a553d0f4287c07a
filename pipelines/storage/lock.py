"""Two processes must not write one folder; a lock goes with its process, however that ends."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipelines.errors import UserError


@contextmanager
def alone(path: Path, patience_s: float = 0) -> Iterator[None]:
    """Hold the lock file while the body runs, after waiting up to `patience_s` for the process that holds it now.

    Raises:
        UserError: it is still held.
    """
    deadline = time.monotonic() + patience_s
    with path.open("w") as file:
        while not _taken(file):
            if time.monotonic() >= deadline:
                raise UserError(f"{path.parent}: another process is at work there; wait for it, or end it")
            time.sleep(0.1)
        yield


@contextmanager
def tried(path: Path) -> Iterator[bool]:
    """Whether the lock file is ours while the body runs; False, at once, where another process holds it."""
    with path.open("w") as file:
        yield _taken(file)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
