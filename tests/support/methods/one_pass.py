"""A large and a small crop in one batch, which cannot be; in tests `ssl_core.methods` finds it, see test_kinds.py."""

from typing import Literal

import torch

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.types import Batch, LossOutput, Progress


class OnePass(Method):
    """Concatenates its views, so these have one shape."""

    view_kinds = ("global", "local")

    class Config(NamedConfig):
        name: Literal["one_pass"] = "one_pass"

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        return LossOutput(self.encoder(torch.cat(batch.views)).pooled.square().mean(), {})
