"""Transformer on patches of a time series (PatchTST: Nie et al., 2023, https://arxiv.org/abs/2211.14730, section 3.1).

A patch spans all channels: the paper's own variant encodes each channel by itself. Patches do not overlap, as the
paper's self-supervised variant asks (section 3.2). Shapes: B samples, C channels, T steps, N patches of P values.
"""

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from ssl_core.encoders._patches import TransformerPatchEncoder
from ssl_core.encoders._sizes import TransformerConfig
from ssl_core.spec import SERIES_AXES, ViewSpec

SIZES = {"tiny": (64, 4, 4), "small": (128, 6, 8), "base": (256, 8, 8)}  # dim, depth, heads: small enough for CPUs


class PatchTransformer(TransformerPatchEncoder):
    """Transformer on patches of a time series, from tiny to base; mean-pooled or with a class token."""

    axes = SERIES_AXES

    class Config(TransformerConfig):
        name: Literal["patch_transformer"] = "patch_transformer"
        size: Literal["tiny", "small", "base"] = "tiny"
        """Sets dim, depth and heads, unless they are given."""
        patch_size: PositiveInt = 8
        """Steps of a patch; divides the length of the views. 12 of 512 steps in the paper."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        (channels, length), self.patch_size = spec.shape, config.patch_size
        if length % self.patch_size:
            raise ValueError(f"encoder.patch_size: {self.patch_size} does not divide the view length {length}")
        self.build_(config, SIZES[config.size], (length // self.patch_size,), channels * self.patch_size)

    def patchify(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, N, P], each patch in the order C, step."""
        return x.unflatten(2, (-1, self.patch_size)).transpose(1, 2).flatten(2)  # [B, N, C, p] -> [B, N, P]

    def unpatchify(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, C, T]."""
        return patches.unflatten(2, (-1, self.patch_size)).transpose(1, 2).flatten(2)  # [B, C, N, p] -> [B, C, T]
