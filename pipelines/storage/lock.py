"""Two processes must not write one folder; a lock goes with its process, however that ends."""

import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pipelines.errors import UserError

STAGE_WAIT_S = 3600.0
"""How long a command waits for another one at the same stage, e.g. two of a script's evaluations."""


@contextmanager
def alone(path: Path, patience_s: float = 0, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock file while the body runs, after waiting up to `patience_s` for the process that holds it now.

    Args:
        say: told once, with the process that holds it, when there is something to wait for.

    Raises:
        UserError: it is still held.
    """
    deadline = time.monotonic() + patience_s
    with path.open("a+") as file:  # not "w": what stands in it is its holder's
        while not _taken(file):
            if time.monotonic() >= deadline:
                raise UserError(f"{path.parent}: {_holder(file)} is at work there; wait for it, or end it")
            if say is not None:
                limit = f"{patience_s / 60:.0f} min at most"
                say(f"{path.parent}: {_holder(file)} is at work there; waiting for it, {limit}")
                say = None
            time.sleep(0.1)
        _sign(file)
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


def _sign(file: IO[str]) -> None:
    with suppress(OSError):  # a full storage; the lock holds all the same
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}, since {time.strftime('%Y-%m-%d %H:%M')}")
        file.flush()


def _holder(file: IO[str]) -> str:
    file.seek(0)
    said = file.read(200)
    return f"another process ({said})" if said else "another process"
