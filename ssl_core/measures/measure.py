"""What a score means: whether more of it is better, and between which bounds it lies; asked of who gives it."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from math import inf
from typing import Literal, NamedTuple

from ssl_core.catalog import find, names


class Measure(NamedTuple):
    better: Literal["high", "low", ""] = "high"
    """Empty: of itself it says nothing about who is better, so it is neither compared nor gated."""
    low: float = 0.0
    high: float = 1.0
    """What it can be at most."""

    @property
    def is_compared(self) -> bool:
        return self.better != ""

    @property
    def sign(self) -> int:
        """By which a difference is a gain where it is positive."""
        return -1 if self.better == "low" else 1


FRACTION = Measure()
"""An accuracy, a recall, an agreement: in [0, 1], the more the better."""
ERROR = Measure("low")
"""The same, the less the better."""
SHARE = Measure("")
"""How much was looked at or dared, or how sure that was: in [0, 1], no merit of its own."""
UNKNOWN = Measure("", -inf, inf)
"""Of a name that nobody vouches for, e.g. in a record of a probe that is gone."""

TASKS: Mapping[str, Measure] = {
    "fine_tune_top1": FRACTION,
    "forecast_mse": Measure("low", 0, inf),
    "robust_top1": FRACTION,
}
"""Of what is no probe."""
HEALTH: Mapping[str, Measure] = {
    "alignment": Measure("low", 0, inf),
    "norm_outliers": Measure("low"),
    "uniformity": Measure("low", -inf, 0),
}
"""Label-free measures of which less is better; of all others more, but for alpha_req, which is best near 1."""


@cache
def measure_of(name: str) -> Measure:
    """The measure of a score by its name, as the probe or task that gives it declares."""
    for probe in names("ssl_core.evaluate"):
        for pattern, measure in find("ssl_core.evaluate", probe).measures.items():
            if fnmatchcase(name, pattern):
                found: Measure = measure
                return found
    return TASKS.get(name, UNKNOWN)
