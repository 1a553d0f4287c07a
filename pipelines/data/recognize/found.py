"""What was recognized: a source, what its samples are like, and what to tell people about it."""

from dataclasses import dataclass
from statistics import median
from typing import Any

LABELS = ("label_name", "label", "class_name", "class", "category", "target")
"""Columns taken for labels, the first one that is there; labels serve evaluation only."""


@dataclass(frozen=True)
class Found:
    source: dict[str, Any]
    """The section `source` of a recipe."""
    what: str
    """e.g. `1,234 images in 10 class folders`."""
    num_train: int | None
    """Samples to train on, about; None: more than were looked at."""
    assumed: tuple[str, ...] = ()
    """What else was taken for what, one line each."""


@dataclass(frozen=True)
class Images(Found):
    sizes: tuple[tuple[int, int], ...] = ()
    """(width, height) of some of them, pixels."""
    gray: bool = False
    """All of these are."""

    @property
    def median(self) -> tuple[int, int]:
        """(width, height)"""
        width, height = (round(median(sides)) for sides in zip(*self.sizes, strict=True))
        return width, height


@dataclass(frozen=True)
class TimeSeries(Found):
    length: int = 0
    """Rows of a sample: the window, or the median."""
    channels: int = 1


@dataclass(frozen=True)
class Texts(Found):
    num_bytes: int = 0
    """Of a text, median."""


@dataclass(frozen=True)
class Recordings(Found):
    seconds: float = 1.0
    """Median of some of them."""
    rate: int = 16_000
    """Samples per second, likewise."""


def count(number: int | None, complete: bool = True) -> str:
    return f"{number:,}" if complete else f"more than {number:,}"
