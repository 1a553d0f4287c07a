"""What DINO, iBOT and DINOv2 share: a student with a head of prototypes, and a teacher that follows it.

Shapes: V views, B samples on this worker, N patches of a large crop, D encoder width.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder, PatchEncoder
from ssl_core.methods._distillation_config import DistillationConfig
from ssl_core.methods.base import Method
from ssl_core.nn.block_masks import blockwise_mask
from ssl_core.nn.ema import follow_, frozen_copy
from ssl_core.nn.prototypes import PrototypeHead
from ssl_core.noise import salt
from ssl_core.optimize.schedules import teacher_momentum
from ssl_core.spec import IMAGE_AXES
from ssl_core.types import Batch, Features, Progress

MASK = 1  # what a random draw is for


class Distillation(Method):
    """A student of all crops, whose teacher sees the two large ones; the teacher is what is exported."""

    view_kinds = ("global", "global")
    mixes_specs = True
    exports: ClassVar[str] = "teacher"  # better than the student all through training (DINO, figure 6)

    @classmethod
    def kinds(cls, config: NamedConfig) -> tuple[str, ...]:
        assert isinstance(config, DistillationConfig)
        return ("global", "global", *("local",) * config.num_local)

    def __init__(self, config: DistillationConfig, encoder: Encoder):
        super().__init__(encoder)
        self.shared = config
        self.head = self.new_head()
        self.teacher, self.teacher_head = frozen_copy(encoder), frozen_copy(self.head)

    def new_head(self) -> PrototypeHead:
        keys = self.shared
        return PrototypeHead(self.encoder.embed_dim, keys.hidden_dim, keys.bottleneck_dim, keys.num_prototypes)

    def teacher_temperature(self, progress: Progress) -> float:
        keys = self.shared
        if progress.fraction >= keys.temperature_rise:
            return keys.teacher_temperature
        rise = keys.teacher_temperature - keys.start_teacher_temperature
        return keys.start_teacher_temperature + rise * progress.fraction / keys.temperature_rise

    def before_step(self, progress: Progress) -> None:
        if progress.fraction < self.shared.freeze_fraction:
            for part in self.modules():
                if isinstance(part, PrototypeHead):
                    part.prototypes.grad = None

    def after_step(self, progress: Progress) -> None:
        momentum = teacher_momentum(self.shared.momentum, progress.step, progress.total)
        follow_(self.teacher, self.encoder, momentum)
        follow_(self.teacher_head, self.head, momentum)


class MaskedDistillation(Distillation):
    """A student that sees its large crops masked, and its teacher all of them (iBOT, section 3.1)."""

    encoder_type = PatchEncoder
    encoder: PatchEncoder
    axes = IMAGE_AXES

    def __init__(
        self, config: DistillationConfig, encoder: PatchEncoder, probability: float, ratio: tuple[float, float]
    ):
        """
        Args:
            probability: of masking a large crop at all.
            ratio: least and most of its patches that are masked then.
        Raises:
            ValueError: `ratio` is not in order.
        """
        if ratio[0] > ratio[1]:
            raise ValueError(f"method.mask_ratio: {ratio[0]} is more than {ratio[1]}; give the smaller share first")
        super().__init__(config, encoder)
        self.probability, self.ratio = probability, ratio
        self.mask_token = nn.Parameter(torch.zeros(1, encoder.embed_dim))
        nn.init.normal_(self.mask_token, std=0.02)

    def masks(self, batch: Batch, progress: Progress) -> Tensor:
        """[2, B, N] bool, True where the student is not shown the patch; another mask for each large crop."""
        rows, columns = self.encoder.grid_of(batch.views[0])
        keys = [salt(progress.seed, progress.step, MASK, view) for view in range(2)]
        grid, ids = (rows, columns), batch.sample_id
        return torch.stack([blockwise_mask(ids, grid, self.probability, self.ratio, key) for key in keys])

    def see(self, batch: Batch, mask: Tensor) -> tuple[Features, Features]:
        """What the student says of all crops, the large ones masked by mask [2, B, N], and the teacher of the large.

        Returns: pooled [V, B, D] and [2, B, D], tokens of the large crops' patches, [2, B, N, D] both.
        """
        large, small = torch.cat(batch.views[:2]), batch.views[2:]
        patches, grid = self.encoder.patchify(large), self.encoder.grid_of(large)
        embedded = self.encoder.embed(patches, mask.flatten(0, 1), self.mask_token[0], grid)
        seen = self.encoder.features_of(self.encoder.encode(embedded))
        pooled = torch.cat([seen.pooled, self.encoder(torch.cat(small)).pooled]) if small else seen.pooled
        with torch.no_grad():
            taught = self.teacher(large)
        student = Features(pooled.unflatten(0, (len(batch.views), -1)), seen.tokens.unflatten(0, (2, -1)))
        return student, Features(*(x.unflatten(0, (2, -1)) for x in taught))
