"""A small convolutional network on log-mel spectrograms, in the shape of BYOL-A's (Niizumi et al., 2021,
https://arxiv.org/abs/2103.06695).

Shapes: B samples, D width.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.nn.norm import BatchNorm2d
from ssl_core.spec import MEL_AXES, ViewSpec
from ssl_core.types import Features


class MelConv(Encoder):
    """Small convolutional network on log-mel spectrograms, pooled by mean plus maximum: fast on CPUs."""

    axes = MEL_AXES

    class Config(NamedConfig):
        name: Literal["mel_conv"] = "mel_conv"
        width: PositiveInt = 32
        """Channels of the first stage; each later stage doubles them."""
        depth: PositiveInt = 4
        """Stages: 3x3 convolution, BatchNorm, ReLU; all but the first halve bands and frames."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        channels, stages = spec.shape[0], list[nn.Module]()
        for stage in range(config.depth):
            width = config.width * 2**stage
            conv = nn.Conv2d(channels, width, 3, 1 if stage == 0 else 2, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            stages.append(nn.Sequential(conv, BatchNorm2d(width), nn.ReLU(inplace=True)))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.embed_dim = channels

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        return _pooled(self.stages(x))

    def layer_features(self, x: Tensor, valid: Tensor | None = None) -> list[Features]:
        """Of the stages."""
        found = list[Features]()
        for stage in self.stages:
            x = stage(x)
            found.append(_pooled(x))
        return found


def _pooled(x: Tensor) -> Features:
    """[B, D, m, f] -> the mean over bands, then mean plus maximum over frames (BYOL-A, section III.D): [B, D]."""
    frames = x.mean(2)  # [B, D, f]
    return Features(pooled=frames.mean(2) + frames.amax(2), tokens=x.flatten(2).transpose(1, 2))
