"""What a probe is: a score of frozen features, no models and no Ray.

Shapes: N samples, D feature width, C classes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class Labelled:
    """Frozen features of one split with their labels."""

    features: Tensor
    """[N, D] float32."""
    label: Tensor
    """[N] int64 in 0..C-1."""


class Probe(ABC):
    """Built as `cls(config)`; called on a train and a test split; returns named scores in [0, 1].

    `..._top1` is an accuracy, a mean over test samples; `..._std` is the spread of another score over draws;
    `..._error` is better when low, every other score when high.

    Whatever a probe chooses (a learning rate, an L2 strength) it chooses on a slice of train;
    test only ever gives the reported score.
    """

    version: ClassVar[int]
    """Raised whenever the same features could score differently."""

    @property
    @abstractmethod
    def protocol(self) -> str:
        """One line that names what is measured, e.g. `knn v1: cosine, k=20, T=0.07`."""

    @abstractmethod
    def __call__(self, train: Labelled, test: Labelled, seed: int) -> dict[str, float]: ...
