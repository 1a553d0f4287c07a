"""Supervised classification: the ceiling that self-supervised methods are held against, and fine-tuning.

Shapes: B samples, D encoder width, C classes.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.types import Batch, LossOutput, Progress


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
        self.num_classes, self.label_smoothing = config.num_classes, config.label_smoothing
        self.classifier = nn.Linear(encoder.embed_dim, config.num_classes)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        label = self._checked(batch)  # [B]
        logits = self.classifier(self.encoder(batch.views[0]).pooled).float()  # [B, C]
        loss = cross_entropy(logits, label, label_smoothing=self.label_smoothing)
        return LossOutput(loss, {"accuracy": (logits.argmax(1) == label).float().mean()})

    def _checked(self, batch: Batch) -> Tensor:
        """The labels [B], all of them within 0..C-1.

        Raises:
            ValueError: no labels, or one that is no class; a GPU would only abort.
        """
        if batch.target is None:
            raise ValueError("method supervised reads labels, and this batch has none; does the source have a label?")
        classes = batch.target.value
        outside = (classes < 0) | (classes >= self.num_classes)
        if outside.any():
            row = int(outside.nonzero()[0])
            sample, label = int(batch.sample_id[row]), int(classes[row])
            raise ValueError(
                f"sample {sample} has class {label}, outside 0..{self.num_classes - 1}; raise method.num_classes"
            )
        return classes
