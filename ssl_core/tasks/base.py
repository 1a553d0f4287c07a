"""What a task is: a target to tell, from features of a frozen encoder or with all weights trained.

Shapes: B samples, D encoder width, N tokens per sample, L ids per target.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.evaluate.base import Score
from ssl_core.measures.measure import Measure
from ssl_core.types import Target


class Task(ABC):
    """Built as `cls(config)`. It holds no weights: `head` makes them, and whoever trains keeps them.

    Subclass contract (tests/contracts/test_tasks.py runs it on every file of this folder):
      Config    nested settings; its `name` is the file name
      target    kind of target that it reads, "class" for instance; "" for a task without one
      reads     what its head reads: pooled features [B, D], tokens [B, N, D], or more than an encoder gives ("method")
      measures  name of each score -> what it means
    """

    target: ClassVar[str]
    reads: ClassVar[Literal["pooled", "tokens", "method"]]
    measures: ClassVar[Mapping[str, Measure]]

    def __init__(self, config: NamedConfig):
        self.config = config

    @abstractmethod
    def head(self, width: int) -> nn.Module:
        """What is trained on features of D = `width`, with weights drawn from the global generator."""

    @abstractmethod
    def loss(self, output: Tensor, valid: Tensor | None, target: Target) -> Tensor:
        """
        Args:
            output: of the head, [B, ...].
            valid: [B, N] bool of a ragged view, where the head reads tokens.
        Returns: [] the mean over this worker's samples; over tokens by `collectives.mean_of`.
        """

    @abstractmethod
    def predict(self, output: Tensor, valid: Tensor | None = None) -> Tensor:
        """The output of the head -> what it says of each sample, [B, ...] as the values of a target."""

    @abstractmethod
    def scores(self, predicted: Tensor, target: Target) -> dict[str, Score]:
        """Every score by name; means and resamples are over samples, never over tokens."""
