"""Two processes must not write one folder; a lock goes with its process, however that ends."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import UserError


@contextmanager
def alone(path: Path, patience_s: float = 0) -> Iterator[None]:
    """Hold the lock file while the body runs, after waiting up to `patience_s` for the process that holds it now.

    Raises:
        UserError: it is still held.
    """
    deadline = time.monotonic() + patience_s
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    message = f"{path.parent}: another process is at work there; wait for it, or end it"
                    raise UserError(message) from None
                time.sleep(0.1)
        yield
