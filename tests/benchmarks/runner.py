"""Contenders in turn, round by round, and goals: what every benchmark is made of.

A busy machine slows all contenders of one round alike, so a ratio is taken within each round, and what is quoted is
the median and the quartiles of these ratios. Absolute rates are for the record only.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Work = Callable[[int], int]
"""Number of the round (-1 warms up) -> how many images were worked on."""
Row = dict[str, Any]
"""Column -> text, number or Spread."""
Clock = Callable[[], float]
CPU: Clock = time.process_time  # of this process: for contenders that run in it on one thread
WALL: Clock = time.perf_counter


class Spread(NamedTuple):
    """What is left of one number per round."""

    median: float
    low: float  # lower quartile
    high: float


@dataclass(frozen=True)
class Contender:
    name: str
    work: Work | None
    absent: str = ""
    """Why there is no `work`, for the table."""


class Race(NamedTuple):
    """Rates of one case, round by round."""

    rates: dict[str, list[float]]
    absent: dict[str, str]

    def rate(self, name: str) -> Spread:
        return spread(self.rates[name])

    def ratio(self, name: str, peers: Sequence[str]) -> Spread | None:
        """How many times as fast as the fastest of the peers; None when none of them, or not `name`, ran."""
        ran = [peer for peer in peers if peer in self.rates]
        if not ran or name not in self.rates:
            return None
        fastest = max(ran, key=lambda peer: self.rate(peer).median)
        return spread([mine / other for mine, other in zip(self.rates[name], self.rates[fastest], strict=True)])

    def rows(self, case: str, unit: str, columns: Mapping[str, Sequence[str]]) -> list[Row]:
        """One row per contender.

        Args:
            columns: heading -> the peers whose fastest the column compares with.
        """
        rows: list[Row] = []
        for name in (*self.rates, *self.absent):
            rate = self.rate(name) if name in self.rates else self.absent[name]
            ratios = {heading: self.ratio(name, peers) or "-" for heading, peers in columns.items()}
            rows.append({"case": case, "contender": name, unit: rate, **ratios})
        return rows


class Outcome(NamedTuple):
    """What a benchmark's `run(quick)` returns."""

    tables: dict[str, list[Row]]
    """Heading -> rows with the same columns."""
    goals: list[Row]


def spread(values: Sequence[float]) -> Spread:
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return Spread(median, low, high)


def optional(name: str, build: Callable[[], Work]) -> Contender:
    """A contender that needs a package which this machine may lack."""
    try:
        return Contender(name, build())
    except ModuleNotFoundError as error:
        return Contender(name, None, f"not installed ({error.name})")


def race(contenders: Sequence[Contender], rounds: int, clock: Clock) -> Race:
    rates: dict[str, list[float]] = {}
    for number in range(-1, rounds):
        for contender in contenders:
            if contender.work is None:
                continue
            begin = clock()
            count = contender.work(number)
            if number >= 0:
                rates.setdefault(contender.name, []).append(count / (clock() - begin))
    return Race(rates, {c.name: c.absent for c in contenders if c.work is None})


def goal(
    text: str, measured: Spread | None, *, at_least: float | None = None, at_most: float | None = None, why: str = ""
) -> Row:
    """A line of the table of goals; the median decides.

    Args:
        measured: None when what is compared with did not run.
        why: shown when the goal is missed: what is known about the reason.
    """
    if (at_least is None) == (at_most is None):
        raise ValueError(f"{text}: give either at_least or at_most")
    met = None
    if measured is not None:
        met = measured.median >= at_least if at_least is not None else measured.median <= (at_most or 0.0)
    wanted = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    return {"goal": text, "wanted": wanted, "measured": measured, "met": met, "why": "" if met is not False else why}
