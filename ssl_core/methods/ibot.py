"""iBOT: image BERT with an online tokenizer (Zhou et al., 2022, https://arxiv.org/abs/2111.07832).

DINO's loss between crops, and the same for patches: the student predicts what the teacher, who sees the whole crop,
says of those that it is not shown. One head serves both (section 4.3.3); each has a center of its own.
Shapes: V views, B samples on this worker, N patches of a large crop, K prototypes.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from ssl_core.encoders.base import PatchEncoder
from ssl_core.losses.self_distillation import across_views, masked_patches
from ssl_core.methods._distillation import MaskedDistillation
from ssl_core.methods._distillation_config import BelowOne, DistillationConfig, Share
from ssl_core.nn.prototypes import Center
from ssl_core.types import Batch, LossOutput, Progress


class IBOT(MaskedDistillation):
    """DINO plus masked patches: predict what the teacher says of patches that the student is not shown."""

    class Config(DistillationConfig):
        name: Literal["ibot"] = "ibot"
        num_prototypes: Annotated[int, Field(ge=2)] = 8192
        """K, of crops and patches alike (appendix B)."""
        mask_probability: Share = 0.5
        """Of masking a large crop at all (section 4.1)."""
        mask_ratio: tuple[Share, Share] = (0.1, 0.5)
        """Least and most of its patches that are masked then, in blocks (section 4.1)."""
        patch_weight: Annotated[float, Field(ge=0)] = 1.0
        """Of the loss of patches; that of crops has 1 (section 3.2)."""
        center_momentum: BelowOne = 0.9
        """How slowly the mean of the teacher's scores of crops follows (appendix B)."""
        patch_center_momentum: BelowOne = 0.9
        """The same for patches."""

    def __init__(self, config: Config, encoder: PatchEncoder):
        super().__init__(config, encoder, config.mask_probability, config.mask_ratio)
        self.config = config
        self.center = Center(config.num_prototypes, config.center_momentum)
        self.patch_center = Center(config.num_prototypes, config.patch_center_momentum)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        mask = self.masks(batch, progress)  # [2, B, N]
        student, teacher = self.see(batch, mask)
        temperature = self.teacher_temperature(progress)
        targets = self.center(self.teacher_head(teacher.pooled), temperature)  # [2, B, K]
        patch_targets = self.patch_center(self.teacher_head(teacher.tokens), temperature)  # [2, B, N, K]
        crops = across_views(targets, self.head(student.pooled), temperature=self.config.student_temperature)
        patches = masked_patches(
            patch_targets.flatten(0, 1),
            self.head(student.tokens).flatten(0, 1),
            mask.flatten(0, 1),
            temperature=self.config.student_temperature,
        )
        metrics = {"crop_loss": crops.detach(), "patch_loss": patches.detach()}
        metrics["target_entropy"] = torch.special.entr(targets).sum(-1).mean()
        return LossOutput(crops + self.config.patch_weight * patches, metrics)

    def after_step(self, progress: Progress) -> None:
        super().after_step(progress)
        self.center.follow_()
        self.patch_center.follow_()
