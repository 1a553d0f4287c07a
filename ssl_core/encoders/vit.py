"""Vision Transformer (Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929) as MAE uses it (He et al., 2022).

Positions are fixed 2-D sines and cosines. Without dropout or stochastic depth: masked and joint-embedding
pre-training of these sizes does without. Shapes: B samples, N patches of P values, K kept, E class tokens, D width.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import PatchEncoder
from ssl_core.nn.transformer import Block, initialize_, sincos_positions
from ssl_core.spec import ViewSpec
from ssl_core.types import Features

SIZES = {  # dim, depth, heads: table 1 of the paper; DeiT (Touvron et al., 2021), table 1
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}


class ViT(PatchEncoder):
    """Vision Transformer on square patches, from tiny to large; mean-pooled or with a class token."""

    position: Tensor

    class Config(NamedConfig):
        name: Literal["vit"] = "vit"
        size: Literal["tiny", "small", "base", "large"] = "tiny"
        """Sets dim, depth and heads, unless they are given."""
        patch_size: PositiveInt = 4
        """Side of a patch in pixels: 16 for 224 px views, 4 for 32 px."""
        dim: PositiveInt | None = None
        depth: PositiveInt | None = None
        heads: PositiveInt | None = None
        class_token: bool = False
        """Pool by a learned token that attends to all patches, instead of by their mean."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        view_shape = spec.shape
        dim, depth, heads = SIZES[config.size]
        dim, depth, heads = config.dim or dim, config.depth or depth, config.heads or heads
        self.patch_size = size = config.patch_size
        for side in view_shape[1:]:
            if side % size:
                raise ValueError(f"encoder.patch_size: {size} does not divide the view size {side}")
        if dim % heads:
            raise ValueError(f"encoder.heads: {heads} does not divide encoder.dim {dim}")
        if dim % 4:
            raise ValueError(f"encoder.dim: {dim} is not a multiple of 4, which 2-D positions need")
        channels, height, width = view_shape
        self.grid = (height // size, width // size)
        self.embed_dim = dim
        self.num_tokens = self.grid[0] * self.grid[1]
        self.patch_dim = channels * size**2
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
        """[B, C, H, W] -> [B, N, P], each patch in the order C, row, column, as a convolution's weight."""
        tiles = x.unflatten(3, (-1, self.patch_size)).unflatten(2, (-1, self.patch_size))  # [B, C, h, p, w, p]
        return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # [B, N, P]

    def unpatchify(self, patches: Tensor) -> Tensor:
        """[B, N, P] -> [B, C, H, W]."""
        tiles = patches.unflatten(2, (-1, self.patch_size, self.patch_size)).unflatten(1, self.grid)
        return tiles.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)  # [B, C, h, p, w, p] -> [B, C, H, W]

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
        """[B, C, H, W] -> pooled [B, D], tokens [B, N, D]."""
        encoded = self.encode(self.embed(self.patchify(x)))  # [B, E + N, D]
        tokens = encoded[:, self.num_class_tokens :]  # [B, N, D]
        return Features(pooled=encoded[:, 0] if self.num_class_tokens else tokens.mean(1), tokens=tokens)
