"""SimMIM: masked image modeling with mask tokens in the encoder (Xie et al., 2022, https://arxiv.org/abs/2111.09886).

Works on any PatchEncoder: image patches, spectrogram tiles, time-series windows. Shapes: B samples, N patches of P
values, D encoder width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import PatchEncoder
from ssl_core.losses.reconstruction import masked_l1
from ssl_core.methods.base import Method
from ssl_core.nn.block_masks import unit_mask
from ssl_core.noise import salt
from ssl_core.types import Batch, LossOutput, Progress

MASK, PICTURE = 1, 2  # what a random draw is for: training and report never share a mask


class SimMIM(Method):
    """Replace patches by a mask token and predict their values with one linear layer."""

    view_kinds = ("global",)
    encoder_type = PatchEncoder
    encoder: PatchEncoder

    class Config(NamedConfig):
        name: Literal["simmim"] = "simmim"
        mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6
        """Share of patches masked."""
        mask_unit: PositiveInt = 2
        """Patches a side that are masked together: the paper masks squares of 32 px with patches of 4 to 16 px."""

    def __init__(self, config: Config, encoder: PatchEncoder):
        super().__init__(encoder)
        self.mask_ratio, self.unit = config.mask_ratio, config.mask_unit
        if any(side % self.unit for side in encoder.grid):
            grid = " x ".join(map(str, encoder.grid))
            raise ValueError(f"method.mask_unit: {self.unit} does not divide the grid of {grid} patches; take 1")
        self.mask_token = nn.Parameter(torch.zeros(1, encoder.embed_dim))
        nn.init.normal_(self.mask_token, std=0.02)
        self.predict = nn.Linear(encoder.embed_dim, encoder.patch_dim)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        patches = self.encoder.patchify(batch.views[0])  # [B, N, P]
        predicted, mask = self._predict(patches, batch.sample_id, salt(progress.seed, progress.step, MASK))
        return LossOutput(masked_l1(predicted, patches, mask), {})

    def _predict(self, patches: Tensor, sample_id: Tensor, salt: int) -> tuple[Tensor, Tensor]:
        """patches [B, N, P] -> predictions [B, N, P], and where they were asked for, [B, N] bool."""
        mask = unit_mask(sample_id, self.encoder.grid, self.unit, self.mask_ratio, salt)
        encoded = self.encoder.encode(self.encoder.embed(patches, mask, self.mask_token[0]))
        return self.predict(encoded[:, self.encoder.num_class_tokens :]).float(), mask

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Views [B, *view_shape] with masked patches at zero, and with predictions in their place."""
        patches = self.encoder.patchify(batch.views[0])
        predicted, mask = self._predict(patches, batch.sample_id, salt(0, PICTURE))
        hidden = mask[..., None]
        shown, filled = patches.masked_fill(hidden, 0), torch.where(hidden, predicted.to(patches.dtype), patches)
        return self.encoder.unpatchify(shown), self.encoder.unpatchify(filled)
