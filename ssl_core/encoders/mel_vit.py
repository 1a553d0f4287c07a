"""Vision Transformer on log-mel spectrograms (AST: Gong et al., 2021, https://arxiv.org/abs/2104.01778).

Patches do not overlap; they may be taller than wide, down to one frame of all bands. Shapes: B samples, M mel bands, F
frames, N patches of P values.
"""

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from ssl_core.encoders._patches import TransformerPatchEncoder
from ssl_core.encoders._sizes import TransformerConfig
from ssl_core.spec import MEL_AXES, ViewSpec

SIZES = {"tiny": (128, 4, 4), "small": (192, 6, 6), "base": (384, 12, 6)}  # dim, depth, heads: small enough for CPUs


class MelViT(TransformerPatchEncoder):
    """Vision Transformer on patches of a log-mel spectrogram, from tiny to base; mean-pooled or with a class token."""

    axes = MEL_AXES

    class Config(TransformerConfig):
        name: Literal["mel_vit"] = "mel_vit"
        size: Literal["tiny", "small", "base"] = "tiny"
        """Sets dim, depth and heads, unless they are given."""
        patch_mels: PositiveInt = 8
        """Mel bands of a patch; divides those of the views. 16 in the paper."""
        patch_frames: PositiveInt = 8
        """Frames of a patch; divides those of the views."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        (channels, mels, frames), self.patch = spec.shape, (config.patch_mels, config.patch_frames)
        self.build_(config, SIZES[config.size], self._grid(mels, frames), channels * self.patch[0] * self.patch[1])

    def grid_of(self, x: Tensor) -> tuple[int, ...]:
        """[B, C, M, F] -> patches along bands and frames."""
        return self._grid(*x.shape[2:])

    def _grid(self, mels: int, frames: int) -> tuple[int, ...]:
        for key, part, whole in (("mels", self.patch[0], mels), ("frames", self.patch[1], frames)):
            if whole % part:
                raise ValueError(f"encoder.patch_{key}: {part} does not divide the {whole} {key} of the views")
        return mels // self.patch[0], frames // self.patch[1]

    def patchify(self, x: Tensor) -> Tensor:
        """[B, C, M, F] -> [B, N, P], each patch in the order C, band, frame; patches band by band."""
        tall, wide = self.patch
        tiles = x.unflatten(3, (-1, wide)).unflatten(2, (-1, tall))  # [B, C, m, tall, f, wide]
        return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # [B, N, P]

    def unpatchify(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, C, M, F]."""
        tiles = patches.unflatten(2, (-1, *self.patch)).unflatten(1, self.grid)  # [B, m, f, C, tall, wide]
        return tiles.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
