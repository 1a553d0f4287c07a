"""Uses every hook around a step; in tests `ssl_core.methods` finds it, see test_hooks.py."""

from typing import ClassVar, Literal

import torch
from torch import nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.nn.ema import follow_, frozen_copy
from ssl_core.types import Batch, LossOutput, Progress


class WithTeacher(Method):
    """A student, a teacher that is exported, a head of constant learning rate, and one that waits half of training."""

    view_kinds = ("global", "global")
    exports: ClassVar[str] = "teacher"
    constant_lr: ClassVar[tuple[str, ...]] = ("head",)

    class Config(NamedConfig):
        name: Literal["with_teacher"] = "with_teacher"

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.teacher = frozen_copy(encoder)
        self.head, self.waits = (nn.Linear(encoder.embed_dim, encoder.embed_dim) for _ in range(2))

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        seen = self.waits(self.head(self.encoder(batch.views[0]).pooled))
        with torch.no_grad():
            wanted = self.teacher(batch.views[1]).pooled
        return LossOutput((seen - wanted).square().mean(), {})

    def before_step(self, progress: Progress) -> None:
        if progress.fraction < 0.5:
            for p in self.waits.parameters():
                p.grad = None

    def after_step(self, progress: Progress) -> None:
        follow_(self.teacher, self.encoder, 0.5)
