"""Transformer blocks with rotary positions, as language models have them.

Bidirectional blocks are those of ModernBERT (Warner et al., 2024, https://arxiv.org/abs/2412.13663; all layers global),
causal ones those of Llama (Touvron et al., 2023, https://arxiv.org/abs/2302.13971), so that weights can go there and
back. Shapes: B samples, T positions, D width, H heads, d = D / H.
"""

from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

from ssl_core.nn.dropout import KeyedDropout


class Cache(NamedTuple):
    """Keys and values of the positions seen so far, of one block."""

    key: Tensor  # [B, H, T, d], T the longest that fits
    value: Tensor  # [B, H, T, d]


class Rotary(NamedTuple):
    """Cosines and sines by which the halves of queries and keys are turned (Su et al., 2021, arXiv 2104.09864)."""

    cos: Tensor  # [T, d] or [B, 1, T, d]
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[B, H, T, d] -> [B, H, T, d], turned in float32."""
        low, high = x.float().chunk(2, dim=-1)
        return (x * self.cos + torch.cat([-high, low], dim=-1) * self.sin).type_as(x)


def rotary(position: Tensor, width: int, base: float) -> Rotary:
    """Of positions [T], or [B, T] where each sample has its own; `width` is d, `base` the longest wavelength / 2 pi."""
    frequency = base ** -(torch.arange(0, width, 2, device=position.device) / width)  # [d / 2]
    angle = position[..., None].float() * frequency
    angle = torch.cat([angle, angle], dim=-1)  # [..., T, d]
    if position.ndim == 2:
        angle = angle[:, None]
    return Rotary(angle.cos(), angle.sin())


class RotaryAttention(nn.Module):
    """Multi-head self-attention without biases, positions in the angles of queries and keys."""

    def __init__(self, dim: int, heads: int, *, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Tensor, turn: Rotary, mask: Tensor | None, cache: Cache | None, place: Tensor | None
    ) -> Tensor:
        """[B, T, D] -> [B, T, D].

        Args:
            mask: bool, True where a query may look, broadcast to [B, H, T, T'].
            cache: keys and values of all positions; those of x are written into it.
            place: [B, T] where they go in the cache.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, H, T, d]
        q, k = turn(q), turn(k)
        if cache is not None and place is not None:
            rows = place[:, None, :, None].expand(k.shape)
            k, v = cache.key.scatter_(2, rows, k), cache.value.scatter_(2, rows, v)  # [B, H, T', d]
        mixed = scaled_dot_product_attention(q, k, v, mask, is_causal=self.causal and mask is None)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class GatedMLP(nn.Module):
    """A perceptron whose hidden units are gated by as many others (Shazeer, 2020, https://arxiv.org/abs/2002.05202)."""

    def __init__(self, dim: int, hidden: int, *, causal: bool):
        super().__init__()
        self.activate = silu if causal else gelu  # SwiGLU of Llama, GeGLU of ModernBERT
        self.hidden = nn.Linear(dim, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.hidden(x).chunk(2, dim=-1)
        out: Tensor = self.out(self.activate(value) * gate)
        return out


class RotaryBlock(nn.Module):
    """Attention, then a gated perceptron, each on a residual path behind a norm."""

    def __init__(self, dim: int, heads: int, hidden: int, *, causal: bool, index: int):
        """
        Args:
            index: its number. The first block of a bidirectional model has no norm before its attention: the
                embedding has one.
        """
        super().__init__()
        self.norm1 = nn.Identity() if index == 0 and not causal else norm(dim, causal=causal)
        self.attn = RotaryAttention(dim, heads, causal=causal)
        self.drop1 = KeyedDropout(0.0, layer=2 * index)
        self.norm2 = norm(dim, causal=causal)
        self.mlp = GatedMLP(dim, hidden, causal=causal)
        self.drop2 = KeyedDropout(0.0, layer=2 * index + 1)

    def forward(
        self,
        x: Tensor,
        turn: Rotary,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        place: Tensor | None = None,
    ) -> Tensor:
        """[B, T, D] -> [B, T, D]; the rest as in RotaryAttention."""
        x = x + self.drop1(self.attn(self.norm1(x), turn, mask, cache, place))
        out: Tensor = x + self.drop2(self.mlp(self.norm2(x)))
        return out


def norm(dim: int, *, causal: bool) -> nn.Module:
    return nn.RMSNorm(dim, eps=1e-5) if causal else nn.LayerNorm(dim, eps=1e-5, bias=False)


def initialize_language_(blocks: nn.ModuleList, embedding: nn.Embedding) -> None:
    """Normal weights of deviation 0.02, 1 / sqrt(2 L) of it where a residual path ends (GPT-2, section 2.3)."""
    nn.init.normal_(embedding.weight, std=0.02)
    for name, layer in blocks.named_modules():
        if isinstance(layer, nn.Linear):
            scale = 1 / sqrt(2 * len(blocks)) if name.endswith("out") else 1.0
            nn.init.normal_(layer.weight, std=0.02 * scale)
