"""What a probe is: a score of frozen features, no models and no Ray.

Shapes: N samples, D feature width, C classes, M test samples.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ssl_core.measures.measure import Measure


@dataclass(frozen=True, eq=False)
class Labelled:
    """Frozen features of one split with their labels; equal to itself alone, so that work on it can be kept by it."""

    features: Tensor
    """[N, D] float32."""
    label: Tensor
    """[N] int64 in 0..C-1."""


class Score(NamedTuple):
    """A score, and how it comes about from the test samples, so that it can be had for a resample of them."""

    value: float
    """Within the bounds of its measure."""
    per_sample: Tensor | None = None
    """[M] within the bounds of its measure, whose mean is the score; None: it is no mean over test samples."""
    reweighted: Callable[[Tensor], float] | None = None
    """The score if sample i counted weight[i] times, from [M] float64; for scores without `per_sample`.

    A score with neither is no statistic of samples: a spread over draws.
    """
    predicted: Tensor | None = None
    """[M] int64, the classes that an accuracy scored; None where there is no single prediction."""
    over: int | None = None
    """How many samples `reweighted` weighs, where they are not the M of test."""


def mean_score(per_sample: Tensor, predicted: Tensor | None = None) -> Score:
    """A score that is a mean over test samples.

    Args:
        per_sample: [M] bool or float in [0, 1].
        predicted: [M] int64.
    """
    values = per_sample.double()  # [M]
    return Score(min(float(values.mean()), 1.0), values, None, predicted)  # a sum of thirds may round up


def averaged(name: str, hits: Tensor) -> dict[str, Score]:
    """The mean over draws of an accuracy, and `_std`, its spread over them (two draws or more).

    Args:
        hits: [M, P] bool, whether each test sample was right in each of P draws.
    """
    scores = {name: mean_score(hits.double().mean(dim=1))}
    if hits.shape[1] > 1:
        scores[f"{name}_std"] = Score(float(hits.double().mean(dim=0).std()))
    return scores


def averaged_names(name: str, draws: int) -> tuple[str, ...]:
    """The names that `averaged` gives for so many draws."""
    return (name, f"{name}_std") if draws > 1 else (name,)


class Probe(ABC):
    """Built as `cls(config)`; measures a train and a test split; gives named scores, of which `measures` says the rest.

    `..._top1` is an accuracy, a mean over test samples; `..._std` is the spread of another score over draws.

    Whatever a probe chooses (a learning rate, an L2 strength) it chooses on a slice of train;
    test only ever gives the reported score.
    """

    version: ClassVar[int]
    """Raised whenever the same features could score differently."""
    measures: ClassVar[Mapping[str, Measure]]
    """Pattern of a score's name -> what it means; the first that fits counts."""

    @property
    @abstractmethod
    def protocol(self) -> str:
        """One line that names what is measured, e.g. `knn v1: cosine, k=20, T=0.07`."""

    @property
    @abstractmethod
    def score_names(self) -> tuple[str, ...]:
        """Every name that `measure` can give: of some data it gives fewer, never others."""

    @abstractmethod
    def measure(self, train: Labelled, test: Labelled, seed: int) -> dict[str, Score]:
        """Every score by name; `seed` keys all draws.

        Raises:
            ValueError: splits that cannot be scored; see `count_classes`.
        """

    def __call__(self, train: Labelled, test: Labelled, seed: int) -> dict[str, float]:
        """The values of `measure` alone. Raises as it does."""
        return {name: score.value for name, score in self.measure(train, test, seed).items()}
