"""How time series that were recognized become samples: each one whole, or windows of long ones."""

from typing import Any, NamedTuple

from pipelines.data.recognize.found import TimeSeries, count
from pipelines.data.recognize.images import HELD_OUT
from pipelines.data.sources._layout import first

ENOUGH = 200
"""Samples that are wanted: fewer series than that are cut into windows if they are long enough."""
WINDOWS = (512, 256, 128, 64)
OVERLAP = 8
"""Windows begin every eighth of one."""
TAIL = 0.2
"""Share of a single long series that is held out: its end."""
LONG = 4
"""A series has to be so many windows long to be cut."""


class Series(NamedTuple):
    source: dict[str, Any]
    number: int
    """Series to train on; of those in `listing`, if it is not complete."""
    complete: bool
    rows: float
    """Median of each."""
    channels: int
    names: tuple[str, ...]
    """Of the channels, where they have some."""
    has_test: bool
    assumed: tuple[str, ...]


def found(given: Series, *, cut: bool = True) -> TimeSeries:
    """
    Args:
        cut: whether the source can cut series into windows.
    """
    window = _window(given) if cut and given.complete else None
    source, number, length = dict(given.source), given.number, round(given.rows)
    assumed = list(given.assumed)
    what = f"{count(number, given.complete)} time series of about {length:,} rows"
    if window:
        source |= {"window": window, "stride": window // OVERLAP}
        number *= max(1, round((given.rows - window) / (window // OVERLAP)) + 1)
        length = window
        assumed.append(f"cut into windows of {window} rows, one every {window // OVERLAP}: fewer than {ENOUGH} series")
    tail = window is not None and given.number == 1 and not given.has_test
    if tail:
        source["test_tail"] = TAIL
        assumed.append(f"one series: the last {TAIL:.0%} of its rows are held out for evaluation")
    elif given.number == 1 and not given.has_test:
        assumed.append("one series: nothing can be held out; source.test_path names another one to evaluate on")
    what += f", {given.channels} channel" + ("s" if given.channels > 1 else "")
    what += f" ({first(given.names)})" if given.names else ""
    held_out = TAIL if tail else 0 if given.has_test or given.number == 1 else HELD_OUT
    num_train = round((1 - held_out) * number) if given.complete else None
    return TimeSeries(source, what, num_train, tuple(assumed), length, given.channels)


def _window(given: Series) -> int | None:
    """The longest window that gives ENOUGH samples; None: every series is a sample."""
    if given.number >= ENOUGH or given.rows < LONG * WINDOWS[-1]:
        return None
    fitting = [window for window in WINDOWS if window * LONG <= given.rows]
    samples = {window: given.number * given.rows * OVERLAP / window for window in fitting}
    return next((window for window in fitting if samples[window] >= ENOUGH), fitting[-1])
