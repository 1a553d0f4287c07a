"""What the user sees of long work: a live bar on a terminal, plain lines otherwise.

It only reads the stage's outbox, so it shows work in this process and on a cluster alike.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from pipelines.errors import UserError
from pipelines.storage import outbox
from pipelines.storage.outbox import Point
from pipelines.storage.printable import printable_lines

console = Console(highlight=False, soft_wrap=True)
if not console.is_terminal and "COLUMNS" not in os.environ:
    console.width = 500  # in a log or a pipe nothing is cut; rich would take 80
PLAIN_SECONDS = 5.0
"""Between two plain lines of one stage."""


def say(text: str) -> None:
    console.print(printable_lines(text), markup=False)


@contextmanager
def watch(stage: str, folder: Path) -> Iterator[None]:
    """Show the points and notes that a stage logs while the body runs."""
    started = time.monotonic()
    view: _View = _Bar(stage) if console.is_terminal else _Lines(stage)
    reader = _Reader(folder)
    try:
        with repeating(0.3, lambda: reader.pass_on(view)):
            yield
    finally:
        with suppress(OSError, UserError):  # it only shows; a stage does not fail for that
            reader.pass_on(view)
        view.close()
    say(f"{stage}: done in {clock(time.monotonic() - started)}")


@contextmanager
def repeating(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` every so many seconds in a thread of its own while the body runs, and not once afterwards.

    Where the storage fails it, the next time may go well.
    """
    done = threading.Event()

    def follow() -> None:
        while not done.wait(seconds):
            with suppress(OSError):
                act()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def describe(point: Point, eta: float | None) -> str:
    """Step of steps, epoch, loss, samples/s, share of time spent waiting for data, ETA: whatever is known."""
    m = point.metrics
    shown = [
        f"step {point.step}/{point.total}",
        f"epoch {m['epoch']:.2f}" if "epoch" in m else "",
        f"loss {m['loss']:.4f}" if "loss" in m else "",
        f"kNN {m['monitor/knn_top1']:.3f}" if "monitor/knn_top1" in m else "",
        f"{m['samples_per_s']:.0f} samples/s" if "samples_per_s" in m else "",
        f"data wait {m['data_wait']:.0%}" if "data_wait" in m else "",
        f"{m['quarantined']:.0f} quarantined" if m.get("quarantined") else "",
        f"{m['replaced']:.0f} replaced" if m.get("replaced") else "",
        f"ETA {clock(eta)}" if eta is not None else "",
    ]
    return "  ".join(part for part in shown if part)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


class _View(Protocol):
    def point(self, point: Point, eta: float | None) -> None: ...
    def note(self, text: str) -> None: ...
    def close(self) -> None: ...


class _Lines:
    """For logs and pipes."""

    def __init__(self, stage: str):
        self._stage, self._next = stage, 0.0

    def point(self, point: Point, eta: float | None) -> None:
        if time.monotonic() >= self._next or point.step == point.total:
            self._next = time.monotonic() + PLAIN_SECONDS
            say(f"{self._stage}  {describe(point, eta)}")

    def note(self, text: str) -> None:
        say(f"{self._stage}  {text}")

    def close(self) -> None:
        pass


class _Bar:
    """For terminals."""

    def __init__(self, stage: str):
        self._bar = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(24), TextColumn("{task.fields[text]}"), console=console
        )
        self._task = self._bar.add_task(stage, total=None, text="starting")
        self._bar.start()

    def point(self, point: Point, eta: float | None) -> None:
        self._bar.update(self._task, total=point.total, completed=point.step, text=describe(point, eta))

    def note(self, text: str) -> None:
        self._bar.console.print(printable_lines(text), markup=False)

    def close(self) -> None:
        self._bar.stop()


class _Reader:
    """Hands new points and notes of a folder to a view."""

    def __init__(self, folder: Path):
        self._folder = folder
        _, self._points = outbox.tail(folder, 0)  # what an earlier process logged is not news
        notes = folder / outbox.NOTES
        self._notes = notes.stat().st_size if notes.exists() else 0
        self._first: tuple[float, int] | None = None

    def pass_on(self, view: _View) -> None:
        points, self._points = outbox.tail(self._folder, self._points)
        for point in points:
            self._first = self._first or (time.monotonic(), point.step)
            view.point(point, self._eta(point))
        notes = self._folder / outbox.NOTES
        if notes.exists():
            with notes.open("rb") as file:
                file.seek(self._notes)
                for line in file.read().decode().splitlines():
                    view.note(line.split(" ", 1)[-1])
                self._notes = file.tell()

    def _eta(self, point: Point) -> float | None:
        began, step = self._first or (time.monotonic(), point.step)
        taken = point.step - step
        return (point.total - point.step) * (time.monotonic() - began) / taken if taken else None
