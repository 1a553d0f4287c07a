"""Autoencoder: compress a view to one vector and paint it again (Hinton & Salakhutdinov, 2006, Science 313).

Shapes: B samples, D encoder width.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.reconstruction import mse
from ssl_core.methods.base import Method
from ssl_core.nn.heads import ConvDecoder
from ssl_core.types import Batch, LossOutput, Progress


class Autoencoder(Method):
    """Rebuild the view from the encoder's pooled vector alone."""

    view_kinds = ("global",)

    class Config(NamedConfig):
        name: Literal["autoencoder"] = "autoencoder"
        decoder_width: PositiveInt = 32
        """Channels of the decoder at full size; smaller maps have up to 8 times as many."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.decoder = ConvDecoder(encoder.embed_dim, encoder.spec, config.decoder_width)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        (view,) = batch.views
        return LossOutput(mse(self.decoder(self.encoder(view).pooled), view), {})

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The views and what the decoder makes of them, [B, *view_shape] each."""
        (view,) = batch.views
        return view, self.decoder(self.encoder(view).pooled)
