"""Dilated convolutions over the steps of a series (TS2Vec: Yue et al., 2022, https://arxiv.org/abs/2106.10466, 3.1).

Dilations double from block to block, so that depth 10 sees some thousand steps each way. Without BatchNorm: what a step
is encoded to depends on its own series alone. Shapes: B samples, C channels, T steps, H width inside, D encoder width.
"""

from itertools import pairwise
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import StepEncoder
from ssl_core.spec import SERIES_AXES, ViewSpec
from ssl_core.types import Features


class DilatedConv(StepEncoder):
    """Dilated convolutions with one feature vector per step; max-pooled over time."""

    axes = SERIES_AXES

    class Config(NamedConfig):
        name: Literal["dilated_conv"] = "dilated_conv"
        hidden_dim: PositiveInt = 64
        """H, channels of all blocks but the last (the authors' code)."""
        dim: PositiveInt = 320
        """D, 320 in the authors' code."""
        depth: PositiveInt = 10
        """Residual blocks below the last one; block i has dilation 2^i."""
        causal: bool = False
        """A step sees itself and what came before, as forecasts need; else both sides."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        self.embed_dim = config.dim
        self.project = nn.Linear(spec.shape[0], config.hidden_dim)
        widths = [*[config.hidden_dim] * (config.depth + 1), config.dim]
        self.blocks = nn.Sequential(
            *[_Block(before, after, 2**level, config.causal) for level, (before, after) in enumerate(pairwise(widths))]
        )

    def embed(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, T, H]."""
        embedded: Tensor = self.project(x.transpose(1, 2))
        return embedded

    def encode(self, steps: Tensor) -> Tensor:
        """[B, T, H] -> [B, T, D]."""
        encoded: Tensor = self.blocks(steps.transpose(1, 2))
        return encoded.transpose(1, 2)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        """[B, C, T] -> pooled [B, D], tokens [B, T, D]."""
        tokens = self.encode(self.embed(x))
        return Features(pooled=tokens.amax(1), tokens=tokens)


class _Block(nn.Module):
    """Two convolutions of three steps, each after a GELU, on a residual path."""

    def __init__(self, before: int, after: int, dilation: int, causal: bool):
        super().__init__()
        self.padding = (2 * dilation, 0) if causal else (dilation, dilation)
        self.conv1 = nn.Conv1d(before, after, 3, dilation=dilation)
        self.conv2 = nn.Conv1d(after, after, 3, dilation=dilation)
        self.shortcut = nn.Conv1d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, before, T] -> [B, after, T]."""
        residual = self.conv1(pad(gelu(x), self.padding))
        out: Tensor = self.shortcut(x) + self.conv2(pad(gelu(residual), self.padding))
        return out
