"""Context encoder: paint what was cut out of an image (Pathak et al., 2016, https://arxiv.org/abs/1604.07379).

The reconstruction loss of the paper; its adversarial one makes pictures sharper and is left out. Shapes: B samples, D
encoder width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.reconstruction import weighted_mse
from ssl_core.methods.base import Method
from ssl_core.nn.block_masks import block_mask
from ssl_core.nn.heads import ConvDecoder
from ssl_core.noise import salt
from ssl_core.spec import IMAGE_AXES
from ssl_core.types import Batch, LossOutput, Progress

HOLE, PICTURE = 1, 2  # what a random draw is for: training and report never share a hole


class ContextEncoder(Method):
    """Cut a rectangle out of an image and paint it from the rest."""

    view_kinds = ("global",)
    axes = IMAGE_AXES

    class Config(NamedConfig):
        name: Literal["context_encoder"] = "context_encoder"
        hole: Annotated[float, Field(gt=0, lt=1)] = 0.5
        """Sides of the hole over those of the view; its place is drawn."""
        overlap: NonNegativeInt = 2
        """Pixels inside the border of the hole that the encoder sees, so that both fit together."""
        overlap_weight: PositiveFloat = 10.0
        """Of these pixels in the loss."""
        decoder_width: PositiveInt = 32
        """Channels of the decoder at full size; smaller maps have up to 8 times as many."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        sides = encoder.spec.shape[1:]
        self.sides, self.overlap, self.overlap_weight = sides, config.overlap, config.overlap_weight
        self.hole = tuple(max(1, round(config.hole * side)) for side in sides)
        if 2 * config.overlap >= min(self.hole):
            raise ValueError(
                f"method.overlap: {config.overlap} px from both sides leave nothing of a hole of {self.hole[0]} x "
                f"{self.hole[1]} px; lower it"
            )
        self.decoder = ConvDecoder(encoder.embed_dim, encoder.spec, config.decoder_width)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        (view,) = batch.views
        painted, hole, hidden = self._paint(view, batch.sample_id, salt(progress.seed, progress.step, HOLE))
        weight = torch.where(hole & ~hidden, self.overlap_weight, hole.to(torch.float32))
        return LossOutput(weighted_mse(painted, view, weight), {})

    def _paint(self, view: Tensor, sample_id: Tensor, key: int) -> tuple[Tensor, Tensor, Tensor]:
        """Painted views [B, C, H, W], the hole, and what of it the encoder did not see, [B, 1, H, W] bool each."""
        hole = self._rectangle(sample_id, 0, key)
        hidden = self._rectangle(sample_id, self.overlap, key)
        return self.decoder(self.encoder(view.masked_fill(hidden, 0)).pooled), hole, hidden

    def _rectangle(self, sample_id: Tensor, inset: int, key: int) -> Tensor:
        """The hole, or what lies `inset` pixels inside it: [B, 1, H, W] bool."""
        rows, columns = self.sides
        whole = block_mask(sample_id, (rows, columns), (self.hole[0], self.hole[1]), 0, key).view(-1, 1, rows, columns)
        if not inset:
            return whole
        outside = pad((~whole).float(), (inset,) * 4, value=1.0)  # beyond the view too, so that all holes count alike
        shown = max_pool2d(outside, 2 * inset + 1, stride=1)  # 1 where the outside is near
        return whole & (shown == 0)

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Views with the hole at zero, and with what was painted in its place, [B, *view_shape] each."""
        (view,) = batch.views
        painted, hole, _ = self._paint(view, batch.sample_id, salt(0, PICTURE))
        return view.masked_fill(hole, 0), torch.where(hole, painted.to(view.dtype), view)
