"""Supervised classification: the ceiling that self-supervised methods are held against, and fine-tuning.

Shapes: B samples, D encoder width, C classes.
"""

from typing import Annotated, Literal

from pydantic import Field

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.tasks.classification import Classification
from ssl_core.types import Batch, LossOutput, Progress, Target


class Supervised(Method):
    """Cross entropy on labels: a linear classifier trained together with the encoder."""

    view_kinds = ("global",)
    reads = "class"

    class Config(NamedConfig):
        name: Literal["supervised"] = "supervised"
        num_classes: Annotated[int, Field(ge=2)]
        """C; labels are 0..C-1."""
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
        """Share of the target spread over all classes (Szegedy et al., 2016, section 7)."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.task = Classification(
            Classification.Config(num_classes=config.num_classes, label_smoothing=config.label_smoothing)
        )
        self.classifier = self.task.head(encoder.embed_dim)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        target = self._checked(batch)
        logits = self.classifier(self.encoder(batch.views[0], batch.valid_of(0)).pooled).float()  # [B, C]
        loss = self.task.loss(logits, None, target)
        return LossOutput(loss, {"accuracy": (self.task.predict(logits) == target.value).float().mean()})

    def _checked(self, batch: Batch) -> Target:
        """The classes [B], all of them within 0..C-1.

        Raises:
            ValueError: no labels, or one that is no class; a GPU would only abort.
        """
        if batch.target is None:
            raise ValueError("method supervised reads labels, and this batch has none; does the source have a label?")
        classes = batch.target.value
        outside = (classes < 0) | (classes >= self.task.num_classes)
        if outside.any():
            row = int(outside.nonzero()[0])
            sample, label = int(batch.sample_id[row]), int(classes[row])
            raise ValueError(
                f"sample {sample} has class {label}, outside 0..{self.task.num_classes - 1}; raise method.num_classes"
            )
        return batch.target
