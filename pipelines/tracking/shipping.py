"""From a stage's outbox to a tracking server, in a thread; knows no MLflow, pipelines/tracking/runs.py tells it how.

`outbox.json` in the stage's folder keeps how far it got: {"run_id": ..., "offset": ..., "done": ...}.
Whatever fails is tried again later, by this process or the next, and never reaches the stage.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import UserError
from pipelines.storage import outbox
from pipelines.storage.atomic import write_text
from pipelines.storage.outbox import Point

STATE = "outbox.json"
PERIOD_S = 1.0
BATCH = 500  # metrics per request; MLflow takes at most 1000

logger = logging.getLogger("selfray.tracking")


class Unreachable(Exception):
    """A point, file or tag could not be put where it belongs; the message is the reason, in one line."""


class State(NamedTuple):
    run_id: str
    offset: int
    """Bytes of the outbox that have arrived in that run."""
    done: bool
    """The stage is complete and so is everything of it on the server."""


def state(folder: Path) -> State | None:
    path = folder / STATE
    return State(**json.loads(path.read_text())) if path.exists() else None


class Shipper:
    """Ships the committed points of one folder to one tracking run.

    Args:
        folder: The stage's folder.
        open_run: Finds or creates the run, returns its id.
        send: Takes a run id and points. Both raise Unreachable; sending a point twice must do no harm.
    """

    def __init__(self, folder: Path, open_run: Callable[[], str], send: Callable[[str, list[Point]], None]):
        self._folder = folder
        self._open_run = open_run
        self._send = send
        self._run_id: str | None = None
        self.done = False
        self._offset = 0
        self._last: dict[str, int] = {}  # metric -> highest step sent
        self._down = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"ship {folder.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, patience_s: float) -> str:
        """Stop the thread and ship the rest.

        Returns: the run's id.

        Raises:
            Unreachable: still so after `patience_s`; what is left stays in the outbox.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return self.ship()
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PERIOD_S / 2)

    def ship(self) -> str:
        """Send every committed point that has not arrived yet; returns the run's id.

        Raises:
            Unreachable: the server or the storage does not answer just now.
        """
        try:
            return self._ship()
        except OSError as error:
            raise Unreachable(f"{self._folder}: {error.strerror or error}") from error

    def _ship(self) -> str:
        run_id = self._run_id or self._begin()
        for chunk in _chunks(outbox.committed(self._folder, self._offset)):
            last = dict(self._last)
            if points := list(outbox.unrepeated((point for _, point in chunk), last)):
                self._send(run_id, points)
            self._last, self._offset, self.done = last, chunk[-1][0], False
            self._keep()
        return run_id

    def mark_done(self) -> None:
        """Remember that the run on the server is complete."""
        self.done = True
        self._keep()

    def _begin(self) -> str:
        run_id = self._open_run()
        known = state(self._folder)
        if known and known.run_id == run_id:
            self._offset, self.done = known.offset, known.done
        arrived = (point for end, point in outbox.committed(self._folder, 0) if end <= self._offset)
        for _ in outbox.unrepeated(arrived, self._last):
            pass
        self._run_id = run_id
        self._keep()
        return run_id

    def _keep(self) -> None:
        path = self._folder / STATE
        try:
            write_text(path, json.dumps(State(self._run_id or "", self._offset, self.done)._asdict()))
        except OSError as error:  # a full disk: the same points are sent again later, which changes nothing
            raise Unreachable(f"{path}: {error.strerror}") from error

    def _loop(self) -> None:
        while True:
            try:
                self.ship()
                if self._down:
                    logger.warning("tracking: the server answers again")
                self._down = False
            except Unreachable as error:
                if not self._down:
                    logger.warning("tracking: %s; the run goes on, points are kept in %s", error, self._folder)
                self._down = True
            except UserError as error:  # said again, and raised, at the end of the stage
                logger.warning("tracking: %s", error)
                return
            if self._stop.wait(PERIOD_S):
                return


def _chunks(points: list[tuple[int, Point]]) -> Iterator[list[tuple[int, Point]]]:
    chunk: list[tuple[int, Point]] = []
    size = 0
    for end, point in points:
        if chunk and size + len(point.metrics) > BATCH:
            yield chunk
            chunk, size = [], 0
        chunk.append((end, point))
        size += len(point.metrics)
    if chunk:
        yield chunk
