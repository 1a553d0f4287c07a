"""A small plain convolutional network for time series, for CPUs and tests (Wang et al., 2017, FCN, 1611.06455).

Shapes: B samples, C channels, T steps, N positions of the last feature map, D encoder width.
"""

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder, of_map, stage_features
from ssl_core.nn.norm import BatchNorm1d
from ssl_core.spec import SERIES_AXES, ViewSpec
from ssl_core.types import Features


class SeriesConv(Encoder):
    """Small strided convolutional network for time series: fast on CPUs."""

    axes = SERIES_AXES

    class Config(NamedConfig):
        name: Literal["series_conv"] = "series_conv"
        width: PositiveInt = 32
        """Channels of the first stage; each later stage doubles them and halves the series."""
        depth: PositiveInt = 4
        """Stages: convolution, BatchNorm, ReLU."""
        kernel_size: PositiveInt = 7
        """Steps that a convolution sees; odd."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        channels_in, length = spec.shape
        kernel, needed = config.kernel_size, 2 ** (config.depth - 1)
        if kernel % 2 == 0:
            raise ValueError(f"encoder.kernel_size: {kernel} is even; a position would have no middle")
        if length < needed:
            raise ValueError(f"encoder.depth: {config.depth} stages need {needed} steps or more, not {length}")
        channels = [channels_in, *[config.width * 2**stage for stage in range(config.depth)]]
        layers: list[nn.Module] = []
        for stage in range(config.depth):
            before, after, stride = channels[stage], channels[stage + 1], 1 if stage == 0 else 2
            conv = nn.Conv1d(before, after, kernel, stride, padding=kernel // 2, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, BatchNorm1d(after), nn.ReLU(inplace=True)]
        self.stages = nn.Sequential(*layers)
        self.embed_dim = channels[-1]

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        """[B, C, T] -> pooled [B, D], tokens [B, N, D]."""
        return of_map(self.stages(x))  # [B, D, N]

    def layer_features(self, x: Tensor, valid: Tensor | None = None) -> list[Features]:
        """Of the stages: convolution, BatchNorm, ReLU."""
        return stage_features([self.stages[i : i + 3] for i in range(0, len(self.stages), 3)], x)
