"""Denoising autoencoder (Vincent et al., 2008, ICML; 2010, https://jmlr.org/papers/v11/vincent10a.html).

Shapes: B samples, C channels, S pixels of a view.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.losses.reconstruction import mse
from ssl_core.methods.base import Method
from ssl_core.nn.heads import ConvDecoder
from ssl_core.nn.masking import random_split
from ssl_core.noise import keyed_normal, salt
from ssl_core.types import Batch, LossOutput, Progress

NOISE, MASK, PICTURE = 1, 2, 3  # what a random draw is for


class DenoisingAutoencoder(Method):
    """Rebuild the clean view from the pooled vector of a corrupted one."""

    view_kinds = ("global",)

    class Config(NamedConfig):
        name: Literal["denoising_autoencoder"] = "denoising_autoencoder"
        noise_std: NonNegativeFloat = 0.25
        """Deviation of the Gaussian noise, in units of the normalized view (2010, section 3.3)."""
        mask_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.25
        """Share of pixels set to zero, all channels at once (masking noise; 2008, section 2.3)."""
        decoder_width: PositiveInt = 32
        """Channels of the decoder at full size; smaller maps have up to 8 times as many."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        self.noise_std, self.mask_ratio = config.noise_std, config.mask_ratio
        self.decoder = ConvDecoder(encoder.embed_dim, encoder.spec, config.decoder_width)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        (clean,) = batch.views
        corrupted = self._corrupt(clean, batch.sample_id, progress.seed, progress.step)
        return LossOutput(mse(self.decoder(self.encoder(corrupted).pooled), clean), {})

    def _corrupt(self, clean: Tensor, sample_id: Tensor, *key: int) -> Tensor:
        """[B, C, H, W] -> the same with noise added, then pixels erased, keyed by sample and `key`."""
        corrupted = clean
        if self.noise_std > 0:
            noise = keyed_normal(sample_id, clean[0].numel(), salt(*key, NOISE))  # [B, C * S]
            corrupted = clean + self.noise_std * noise.view(len(clean), *clean.shape[1:])
        if self.mask_ratio > 0:
            pixels = clean[0, 0].numel()
            kept, _ = random_split(sample_id, pixels, self.mask_ratio, salt(*key, MASK))
            keep = torch.zeros(len(clean), pixels, device=clean.device).scatter_(1, kept, 1.0)  # [B, S]
            corrupted = corrupted * keep.view(len(clean), 1, *clean.shape[2:])
        return corrupted

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The corrupted views and what the decoder makes of them, [B, *view_shape] each."""
        shown = self._corrupt(batch.views[0], batch.sample_id, 0, PICTURE)
        return shown, self.decoder(self.encoder(shown).pooled)
