"""A small plain convolutional network, for CPUs and tests.

Shapes: B samples, N positions of the last feature map, D encoder width.
"""

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder, of_map, stage_features
from ssl_core.nn.norm import BatchNorm2d
from ssl_core.spec import ViewSpec
from ssl_core.types import Features


class ConvNet(Encoder):
    """Small strided convolutional network: fast on CPUs, views from 8 px up."""

    class Config(NamedConfig):
        name: Literal["convnet"] = "convnet"
        width: PositiveInt = 32
        """Channels of the first stage; each later stage doubles them and halves the image."""
        depth: PositiveInt = 4
        """Stages: 3x3 convolution, BatchNorm, ReLU."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        view_shape = spec.shape
        needed = 2 ** (config.depth - 1)
        if min(view_shape[1:]) < needed:
            size = min(view_shape[1:])
            raise ValueError(f"encoder.depth: {config.depth} stages need views of {needed} px or more, not {size} px")
        channels = [view_shape[0], *[config.width * 2**stage for stage in range(config.depth)]]
        layers: list[nn.Module] = []
        for stage in range(config.depth):
            before, after, stride = channels[stage], channels[stage + 1], 1 if stage == 0 else 2
            conv = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.stages = nn.Sequential(*layers)
        self.embed_dim = channels[-1]

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        return of_map(self.stages(x))  # [B, D, h, w]

    def layer_features(self, x: Tensor, valid: Tensor | None = None) -> list[Features]:
        """Of the stages: convolution, BatchNorm, ReLU."""
        return stage_features([self.stages[i : i + 3] for i in range(0, len(self.stages), 3)], x)
