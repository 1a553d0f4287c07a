"""Two large crops and as many small ones as asked; in tests `ssl_core.methods` finds it, see test_kinds.py."""

from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch.nn.functional import normalize

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.types import Batch, LossOutput, Progress


class MultiCrop(Method):
    """Pulls small crops towards large ones, each size in a pass of its own."""

    view_kinds = ("global",)
    mixes_specs: ClassVar[bool] = True

    class Config(NamedConfig):
        name: Literal["multi_crop"] = "multi_crop"
        num_local: PositiveInt = 3

    @classmethod
    def kinds(cls, config: NamedConfig) -> tuple[str, ...]:
        assert isinstance(config, cls.Config)
        return ("global", "global", *("local",) * config.num_local)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.num_views = 2 + config.num_local

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        assert len(batch.views) == self.num_views
        large, small = (
            normalize(self.encoder(torch.cat(views)).pooled, dim=-1).unflatten(0, (len(views), -1)).mean(0)  # [B, D]
            for views in (batch.views[:2], batch.views[2:])
        )
        return LossOutput((large - small).square().sum(-1).mean(), {"views": torch.tensor(float(len(batch.views)))})
