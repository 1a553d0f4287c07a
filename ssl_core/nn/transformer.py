"""Pre-norm transformer blocks and fixed positions, shared by encoders and decoders.

Parameter names are timm's, so that published weights fit. Shapes: B samples, N tokens, D width.
"""

from collections import OrderedDict
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, section 3.2) with a bias on queries, keys and values."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, heads, N, D / heads]
        mixed = scaled_dot_product_attention(q, k, v)  # [B, heads, N, D / heads]
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))  # [B, N, D]
        return out


class Block(nn.Module):
    """Attention, then a perceptron of four times the width, each on a residual path (Dosovitskiy et al., eq. 2-3)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(dim, 4 * dim), act=nn.GELU(), fc2=nn.Linear(4 * dim, dim)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def sincos_positions(dim: int, grid: tuple[int, ...]) -> Tensor:
    """Fixed positions on a grid of any number of axes (MAE, appendix A.1; Vaswani et al., 2017, section 3.5).

    Each axis gets its share of the width: an even number of channels, half sines and half cosines of
    frequencies from 1 to 1/10000. Channels that do not divide evenly stay zero.

    Args:
        dim: D, at least twice the number of axes.
        grid: tokens along each axis, e.g. (8, 8) for an image; N is the product.
    Returns: [N, D] float32, the last axis of the grid running fastest.
    """
    if dim < 2 * len(grid):
        raise ValueError(f"positions on {len(grid)} axes need a width of at least {2 * len(grid)}; got {dim}")
    per_axis = dim // (2 * len(grid))
    kind = {"dtype": torch.float64, "device": "cpu"}  # also where the module is only checked, on the meta device
    frequency = 10_000.0 ** -(torch.arange(per_axis, **kind) / per_axis)  # type: ignore[call-overload]
    axes = torch.meshgrid(*[torch.arange(n, **kind) for n in grid], indexing="ij")  # type: ignore[call-overload]
    angles = [axis.reshape(-1, 1) * frequency for axis in axes]  # [N, per_axis] each
    waves = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    positions = waves.new_zeros(prod(grid), dim)  # [N, D]
    positions[:, : waves.shape[1]] = waves
    return positions.float()


def initialize_(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every Linear inside (MAE, appendix A.1)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
