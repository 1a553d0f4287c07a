"""DINOv2: DINO and iBOT without centers (Oquab et al., 2023, https://arxiv.org/abs/2304.07193).

Targets are assignments that use all prototypes alike, by Sinkhorn and Knopp over all workers, instead of centered
scores; crops and patches have heads of their own; and KoLeo spreads the crops of a batch, each view by itself
(section 4). The gain of the heads' last layer stays 1, which the authors learn. Shapes: V views, B samples on this
worker, G on all, N patches of a large crop, D encoder width, K prototypes.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from ssl_core.encoders.base import PatchEncoder
from ssl_core.losses.koleo import koleo
from ssl_core.losses.self_distillation import across_views, masked_patches
from ssl_core.methods._distillation import MaskedDistillation
from ssl_core.methods._distillation_config import BelowOne, DistillationConfig, Share
from ssl_core.nn.ema import follow_, frozen_copy
from ssl_core.nn.sinkhorn import sinkhorn
from ssl_core.optimize.collectives import gather, rank
from ssl_core.optimize.schedules import teacher_momentum
from ssl_core.types import Batch, LossOutput, Progress

Weight = Annotated[float, Field(ge=0)]


class DINOv2(MaskedDistillation):
    """DINO and iBOT with balanced targets and crops that are spread out; registers suit its encoder."""

    min_samples = 2  # KoLeo's neighbors

    class Config(DistillationConfig):
        name: Literal["dinov2"] = "dinov2"
        momentum: BelowOne = 0.992
        """Of the teacher at the start; it rises to 1 (appendix B, table 16)."""
        iterations: PositiveInt = 3
        """Of Sinkhorn and Knopp (section 4)."""
        mask_probability: Share = 0.5
        """Of masking a large crop at all (the authors' configs)."""
        mask_ratio: tuple[Share, Share] = (0.1, 0.5)
        """Least and most of its patches that are masked then, in blocks (the authors' configs)."""
        patch_weight: Weight = 1.0
        """Of the loss of patches; that of crops has 1."""
        koleo_weight: Weight = 0.1
        """Of the spread, summed over the two large crops (section 4)."""

    def __init__(self, config: Config, encoder: PatchEncoder):
        super().__init__(config, encoder, config.mask_probability, config.mask_ratio)
        self.config = config
        self.patch_head = self.new_head()
        self.teacher_patch_head = frozen_copy(self.patch_head)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        mask = self.masks(batch, progress)  # [2, B, N]
        student, teacher = self.see(batch, mask)
        temperature = self.teacher_temperature(progress)
        targets = self._balanced(self.teacher_head(teacher.pooled), temperature)  # [2, B, K]
        patch_targets = self._balanced(self.teacher_patch_head(teacher.tokens), temperature, mask)  # [2, B, N, K]
        crops = across_views(targets, self.head(student.pooled), temperature=self.config.student_temperature)
        patches = masked_patches(
            patch_targets.flatten(0, 1),
            self.patch_head(student.tokens).flatten(0, 1),
            mask.flatten(0, 1),
            temperature=self.config.student_temperature,
        )
        spread = torch.stack([self._koleo(z) for z in student.pooled[:2]]).sum()
        loss = crops + self.config.patch_weight * patches + self.config.koleo_weight * spread
        parts = {"crop_loss": crops, "patch_loss": patches, "koleo": spread}
        return LossOutput(loss, {name: part.detach() for name, part in parts.items()})

    def _balanced(self, scores: Tensor, temperature: float, counts: Tensor | None = None) -> Tensor:
        """Scores [..., K] -> assignments of both large crops together, of those places where counts [...] is True."""
        rows = scores.flatten(0, -2)
        counts = None if counts is None else counts.flatten()
        codes = sinkhorn(rows, temperature=temperature, iterations=self.config.iterations, counts=counts)
        return codes.view_as(scores)

    def _koleo(self, z: Tensor) -> Tensor:
        """Of one crop's vectors [B, D], among those of all workers."""
        return koleo(z, gather(z), first=rank() * len(z))

    def after_step(self, progress: Progress) -> None:
        super().after_step(progress)
        momentum = teacher_momentum(self.config.momentum, progress.step, progress.total)
        follow_(self.teacher_patch_head, self.patch_head, momentum)
