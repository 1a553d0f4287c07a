"""Transformer on patches of a time series (PatchTST: Nie et al., 2023, https://arxiv.org/abs/2211.14730, section 3.1).

A patch spans all channels: the paper's own variant encodes each channel by itself. Patches do not overlap, as the
paper's self-supervised variant asks (section 3.2). Shapes: B samples, C channels, T steps, N patches of P values,
K kept, E class tokens, D width.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import PatchEncoder
from ssl_core.nn.transformer import Block, initialize_, sincos_positions
from ssl_core.spec import SERIES_AXES, ViewSpec
from ssl_core.types import Features

SIZES = {"tiny": (64, 4, 4), "small": (128, 6, 8), "base": (256, 8, 8)}  # dim, depth, heads: small enough for CPUs


class PatchTransformer(PatchEncoder):
    """Transformer on patches of a time series, from tiny to base; mean-pooled or with a class token."""

    axes = SERIES_AXES
    position: Tensor

    class Config(NamedConfig):
        name: Literal["patch_transformer"] = "patch_transformer"
        size: Literal["tiny", "small", "base"] = "tiny"
        """Sets dim, depth and heads, unless they are given."""
        patch_size: PositiveInt = 8
        """Steps of a patch; divides the length of the views. 12 of 512 steps in the paper."""
        dim: PositiveInt | None = None
        depth: PositiveInt | None = None
        heads: PositiveInt | None = None
        class_token: bool = False
        """Pool by a learned token that attends to all patches, instead of by their mean."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        channels, length = spec.shape
        dim, depth, heads = SIZES[config.size]
        dim, depth, heads = config.dim or dim, config.depth or depth, config.heads or heads
        self.patch_size = config.patch_size
        if length % self.patch_size:
            raise ValueError(f"encoder.patch_size: {self.patch_size} does not divide the view length {length}")
        if dim % heads:
            raise ValueError(f"encoder.heads: {heads} does not divide encoder.dim {dim}")
        if dim % 2:
            raise ValueError(f"encoder.dim: {dim} is not even, which positions need")
        self.num_tokens = length // self.patch_size
        self.grid = (self.num_tokens,)
        self.embed_dim = dim
        self.patch_dim = channels * self.patch_size
        self.num_class_tokens = int(config.class_token)
        self.patch_embed = nn.Linear(self.patch_dim, dim)
        self.register_buffer("position", sincos_positions(dim, self.grid)[None], persistent=False)  # [1, N, D]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.class_token else None
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        initialize_(self)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)

    def patchify(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, N, P], each patch in the order C, step."""
        return x.unflatten(2, (-1, self.patch_size)).transpose(1, 2).flatten(2)  # [B, N, C, p] -> [B, N, P]

    def unpatchify(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, C, T]."""
        return patches.unflatten(2, (-1, self.patch_size)).transpose(1, 2).flatten(2)  # [B, C, N, p] -> [B, C, T]

    def embed(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, N, D], positions added."""
        embedded: Tensor = self.patch_embed(patches) + self.position
        return embedded

    def encode(self, tokens: Tensor) -> Tensor:
        """[B, K, D], any K <= N -> [B, E + K, D], the class token first where there is one."""
        if self.cls_token is not None:
            # shape, not len(): an exported program would take only this batch's size
            tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)  # [B, 1 + K, D]
        encoded: Tensor = self.norm(self.blocks(tokens))
        return encoded

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        """[B, C, T] -> pooled [B, D], tokens [B, N, D]."""
        encoded = self.encode(self.embed(self.patchify(x)))  # [B, E + N, D]
        tokens = encoded[:, self.num_class_tokens :]  # [B, N, D]
        return Features(pooled=encoded[:, 0] if self.num_class_tokens else tokens.mean(1), tokens=tokens)
