"""MAE: masked autoencoder (He et al., 2022, https://arxiv.org/abs/2111.06377).

Works on any PatchEncoder: image patches, video tubelets, spectrogram tiles, time-series windows.
Shapes: B samples, N patches of P values, K kept, M hidden, E class tokens, D encoder width.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import PatchEncoder
from ssl_core.losses.reconstruction import patch_mse, standardize
from ssl_core.methods.base import Method
from ssl_core.nn.heads import MaskedDecoder
from ssl_core.nn.masking import put, random_split, take
from ssl_core.noise import salt
from ssl_core.types import Batch, LossOutput, Progress

MASK, PICTURE = 1, 2  # what a random draw is for: training and report never share a mask


class MAE(Method):
    """Hide most patches, encode the rest, and predict the hidden values with a small decoder."""

    view_kinds = ("global",)
    encoder_type = PatchEncoder
    encoder: PatchEncoder

    class Config(NamedConfig):
        name: Literal["mae"] = "mae"
        mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
        """Share of patches hidden (figure 5)."""
        standardize_targets: bool = True
        """Predict each patch after scaling it to zero mean and unit variance (table 1d)."""
        decoder_dim: PositiveInt = 512
        """Width of the decoder (table 1b)."""
        decoder_depth: PositiveInt = 8
        """Blocks of the decoder (table 1a)."""
        decoder_heads: PositiveInt = 16

    def __init__(self, config: Config, encoder: PatchEncoder):
        super().__init__(encoder)
        if config.decoder_dim % config.decoder_heads:
            raise ValueError(
                f"method.decoder_heads: {config.decoder_heads} does not divide method.decoder_dim {config.decoder_dim}"
            )
        self.mask_ratio, self.standardize_targets = config.mask_ratio, config.standardize_targets
        self.decoder = MaskedDecoder(
            encoder.embed_dim,
            config.decoder_dim,
            config.decoder_depth,
            config.decoder_heads,
            encoder.grid,
            encoder.patch_dim,
        )

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        patches = self.encoder.patchify(batch.views[0])  # [B, N, P]
        predicted, hidden = self._predict(patches, batch.sample_id, salt(progress.seed, progress.step, MASK))
        loss = patch_mse(predicted, take(patches, hidden), standardized=self.standardize_targets)
        return LossOutput(loss, {})

    def _predict(self, patches: Tensor, sample_id: Tensor, salt: int) -> tuple[Tensor, Tensor]:
        """patches [B, N, P] -> predictions [B, M, P] of the patches at hidden [B, M]."""
        kept, hidden = random_split(sample_id, patches.shape[1], self.mask_ratio, salt)
        seen = self.encoder.encode(take(self.encoder.embed(patches), kept))  # [B, E + K, D]
        return self.decoder(seen, kept, hidden), hidden

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Views [B, *view_shape] with hidden patches at zero, and with predictions in their place.

        Predictions of standardized patches get the true mean and deviation of their patch back: the
        network was never asked for those.
        """
        patches = self.encoder.patchify(batch.views[0])  # [B, N, P]
        predicted, hidden = self._predict(patches, batch.sample_id, salt(0, PICTURE))
        if self.standardize_targets:
            _, mean, std = standardize(take(patches, hidden))
            predicted = predicted * std + mean
        shown = put(patches, hidden, torch.zeros_like(predicted))
        return self.encoder.unpatchify(shown), self.encoder.unpatchify(put(patches, hidden, predicted))
