"""Steps that do not come: a node that hangs, or a storage; said while it lasts, where a slow step says nothing."""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median

from pipelines.storage import outbox
from pipelines.tracking.display import clock

QUIET_S = 30.0
"""Without a point before anything is said; a training that logs seldom has `PATIENCE` times its usual pause."""
PATIENCE = 5
LOOK_S = 1.0


class Stalls:
    """Looks into a stage's outbox now and then; says it once when points fail to come, and when they come again."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.monotonic):
        self._folder, self._now = folder, now
        _, self._offset = outbox.tail(folder, 0)
        self._last: outbox.Point | None = None
        self._came = self._next = now()
        self._pauses: deque[float] = deque(maxlen=20)
        self._said = False

    def poll(self, say: Callable[[str], None]) -> None:
        """Call it often; `say` is told a line at most.

        Raises:
            OSError: the storage fails.
        """
        now = self._now()
        if now < self._next:
            return
        self._next = now + LOOK_S
        points, self._offset = outbox.tail(self._folder, self._offset)
        if points:
            if self._said:
                say(f"steps come again, after {clock(now - self._came)}")
            elif self._last is not None:  # the first one comes after all that a training begins with
                self._pauses.append(now - self._came)
            self._last, self._came, self._said = points[-1], now, False
        elif self._is_quiet(now - self._came):
            self._said = True
            at = f"since step {self._last.step}" if self._last else ""
            say(
                f"no step for {clock(now - self._came)} {at}: a process, a node or the storage may hang; "
                "Ray gives up a node that does not answer after about a minute"
            )

    def _is_quiet(self, pause: float) -> bool:
        if self._said or self._last is None or self._last.step >= self._last.total or not self._pauses:
            return False
        return pause >= max(QUIET_S, PATIENCE * median(self._pauses))
