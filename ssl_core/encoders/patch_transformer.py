"""Transformer on patches of a time series (PatchTST: Nie et al., 2023, https://arxiv.org/abs/2211.14730, section 3.1).

Patches do not overlap, as the paper's self-supervised variant asks (section 3.2). A patch spans all channels, or one:
the paper encodes each channel by itself, here the patches of all of them attend to each other. Shapes: B samples, C
channels, T steps, N patches of P values.
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
        channels: Literal["together", "apart"] = "together"
        """together: a patch holds all channels, a token per stretch of time; apart: one, a token per channel and
        stretch."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        (channels, length), self.patch_size = spec.shape, config.patch_size
        self.apart = config.channels == "apart"
        width = 1 if self.apart else channels
        self.build_(config, SIZES[config.size], self._grid(channels, length), width * self.patch_size)

    def grid_of(self, x: Tensor) -> tuple[int, ...]:
        """[B, C, T] -> (T / p,), or (C, T / p) with channels apart."""
        return self._grid(*x.shape[1:])

    def _grid(self, channels: int, length: int) -> tuple[int, ...]:
        if length % self.patch_size:
            raise ValueError(f"encoder.patch_size: {self.patch_size} does not divide the view length {length}")
        steps = length // self.patch_size
        return (channels, steps) if self.apart else (steps,)

    def patchify(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, N, P], each patch in the order C, step; with channels apart, patches in that order."""
        pieces = x.unflatten(2, (-1, self.patch_size))  # [B, C, T / p, p]
        return pieces.flatten(1, 2) if self.apart else pieces.transpose(1, 2).flatten(2)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, C, T]."""
        if self.apart:
            return patches.unflatten(1, self.grid).flatten(2)
        return patches.unflatten(2, (-1, self.patch_size)).transpose(1, 2).flatten(2)  # [B, C, N, p] -> [B, C, T]
