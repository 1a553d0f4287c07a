"""What corruptions leave of an encoder's accuracy: the table, free of Ray.

Hendrycks & Dietterich, 2019 (https://arxiv.org/abs/1903.12261): the classifier sees clean data only; their mean
corruption error is relative to AlexNet, here the plain accuracy and its drop are given.
"""

from collections.abc import Mapping, Sequence

from pipelines.config.evaluate import MEAN
from pipelines.tracking.markdown import table
from ssl_core.config import Config


class Robustness(Config):
    """Top-1 of a linear probe that was fitted on clean train features."""

    severities: tuple[int, ...]
    clean: float
    """On the same test samples without corruption."""
    top1: dict[str, tuple[float, ...]]
    """Corruption -> accuracy at each severity."""
    num_test: int
    intervals: dict[str, tuple[float, float]] = {}
    """Name as in `metrics` -> 95 % interval over test samples; empty: nothing was resampled."""

    @property
    def asked(self) -> tuple[frozenset[str], tuple[int, ...]]:
        """Corruptions and severities: means over others are no comparison."""
        return frozenset(self.top1), self.severities

    @property
    def mean(self) -> float:
        return sum(map(_mean, self.top1.values())) / len(self.top1)

    @property
    def drop(self) -> float:
        """Clean accuracy less the mean under corruption."""
        return self.clean - self.mean

    def metrics(self) -> dict[str, float]:
        """For the record: `robustness/KIND_top1`, `robustness/KIND_drop`, means over severities, and the whole drop."""
        found = {f"robustness/{kind}_top1": _mean(values) for kind, values in self.top1.items()}
        found |= {f"robustness/{kind}_drop": self.clean - _mean(values) for kind, values in self.top1.items()}
        return {MEAN: self.mean, "robustness/clean_top1": self.clean, "robustness/drop": self.drop, **found}

    def shown(self, metric: str) -> str:
        """A number of `metrics` with its interval."""
        ends = self.intervals.get(metric)
        return f"{self.metrics()[metric]:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")

    def markdown(self) -> list[str]:
        """A table: a row per corruption, a column per severity, the mean and the drop."""
        columns = ["corruption", *(f"severity {s}" for s in self.severities), "mean", "drop"]
        rows = [
            [f"`{kind}`", *_cells(values), self.shown(f"robustness/{kind}_top1"), self.shown(f"robustness/{kind}_drop")]
            for kind, values in self.top1.items()
        ]
        every = _cells([_mean(column) for column in zip(*self.top1.values(), strict=True)])
        rows.append(["**all**", *every, f"{self.mean:.3f}", f"**{self.shown('robustness/drop')}**"])
        clean = self.shown("robustness/clean_top1")
        said = f"Linear probe fitted on clean train features; {self.num_test} test samples, clean {clean}."
        return ["## Robustness", "", said, "", *table(columns, rows, numeric=range(1, len(columns)))]


def summed_up(
    hits: Mapping[tuple[str, int], Sequence[bool]], clean: Sequence[bool], severities: Sequence[int]
) -> Robustness:
    """Accuracy per corruption and severity from per-sample hits."""
    kinds = list(dict.fromkeys(kind for kind, _ in hits))
    top1 = {kind: tuple(_mean(hits[kind, severity]) for severity in severities) for kind in kinds}
    return Robustness(severities=tuple(severities), clean=_mean(clean), top1=top1, num_test=len(clean))


def _mean(values: Sequence[float] | Sequence[bool]) -> float:
    return sum(values) / len(values)


def _cells(values: Sequence[float]) -> list[str]:
    return [f"{value:.3f}" for value in values]
