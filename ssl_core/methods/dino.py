"""DINO: self-distillation with no labels (Caron et al., 2021, https://arxiv.org/abs/2104.14294).

The teacher's scores of a large crop, centered and sharpened, are what the student predicts from every other crop.
Centering alone would end in uniform targets, sharpening alone in one prototype for all.
Shapes: V views, B samples on this worker, K prototypes.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from ssl_core.encoders.base import Encoder
from ssl_core.losses.self_distillation import across_views
from ssl_core.methods._distillation import Distillation
from ssl_core.methods._distillation_config import DistillationConfig
from ssl_core.nn.prototypes import Center
from ssl_core.types import Batch, LossOutput, Progress


class DINO(Distillation):
    """Predict from any crop what a slow teacher says of a large one; centering and sharpening against collapse."""

    class Config(DistillationConfig):
        name: Literal["dino"] = "dino"
        center_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
        """How slowly the mean of the teacher's scores follows (section 3.1)."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(config, encoder)
        self.student_temperature = config.student_temperature
        self.center = Center(config.num_prototypes, config.center_momentum)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        pooled = [self.encoder(torch.cat(views)).pooled for views in (batch.views[:2], batch.views[2:]) if views]
        logits = self.head(torch.cat(pooled)).unflatten(0, (len(batch.views), -1))  # [V, B, K]
        with torch.no_grad():
            scores = self.teacher_head(self.teacher(torch.cat(batch.views[:2])).pooled).unflatten(0, (2, -1))
        targets = self.center(scores, self.teacher_temperature(progress))  # [2, B, K]
        loss = across_views(targets, logits, temperature=self.student_temperature)
        # 0 or log K: the teacher says the same of everything
        return LossOutput(loss, {"target_entropy": torch.special.entr(targets).sum(-1).mean()})

    def after_step(self, progress: Progress) -> None:
        super().after_step(progress)
        self.center.follow_()
