"""Storage that fails for a while is waited for: a remount, a server that restarts, a disk that somebody clears."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipelines.storage import outbox

Found = TypeVar("Found")

PATIENCE_S = 60.0
"""How long in all; steps stand still meanwhile."""
LONGEST_PAUSE_S = 8.0


def patiently(
    act: Callable[[], Found], tell: Callable[[Exception], None], failures: tuple[type[Exception], ...] = (OSError,)
) -> Found:
    """`act`, tried again with pauses that double; `act` must be safe to repeat.

    Args:
        tell: told of the first failure, before the first pause.
    Raises:
        whatever of `failures` it still raises after `PATIENCE_S`.
    """
    deadline, pause = time.monotonic() + PATIENCE_S, 0.25
    told = False
    while True:
        try:
            return act()
        except failures as error:
            if time.monotonic() + pause > deadline:
                raise
            if not told:
                tell(error)
                told = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def noted_in(folder: Path | None) -> Callable[[Exception], None]:
    """For `tell`: a note of the stage, where notes can be written."""

    def tell(error: Exception) -> None:
        if folder is not None:
            outbox.note_if_possible(folder, f"storage: {error}; trying again for {PATIENCE_S:.0f} s")

    return tell
