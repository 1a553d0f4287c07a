"""Classification: one class per sample.

Shapes: B samples, D encoder width, C classes.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_core.config import NamedConfig
from ssl_core.evaluate.base import Score, mean_score
from ssl_core.measures.measure import FRACTION
from ssl_core.tasks.base import Task
from ssl_core.types import Target


class Classification(Task):
    """One class per sample, told by a linear layer on pooled features."""

    target = "class"
    reads = "pooled"
    measures = {"top1": FRACTION}

    class Config(NamedConfig):
        name: Literal["classification"] = "classification"
        num_classes: Annotated[int, Field(ge=2)]
        """C; targets are 0..C-1."""
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
        """Share of the target spread over all classes (Szegedy et al., 2016, section 7)."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.num_classes, self.label_smoothing = config.num_classes, config.label_smoothing

    def head(self, width: int) -> nn.Linear:
        return nn.Linear(width, self.num_classes)

    def loss(self, output: Tensor, valid: Tensor | None, target: Target) -> Tensor:
        """output [B, C] logits, target [B] int64 -> [] cross entropy in float32."""
        return cross_entropy(output.float(), target.value, label_smoothing=self.label_smoothing)

    def predict(self, output: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B, C] -> [B] int64."""
        return output.argmax(dim=1)

    def scores(self, predicted: Tensor, target: Target) -> dict[str, Score]:
        return {"top1": mean_score(predicted == target.value, predicted)}
