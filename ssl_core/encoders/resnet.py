"""ResNet (He et al., 2016, https://arxiv.org/abs/1512.03385), of any width, for images from 8 px up.

Shapes: B samples, N positions of the last feature map, D encoder width.
"""

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from ssl_core.config import LocalPath, NamedConfig
from ssl_core.encoders._published import load_weights_
from ssl_core.encoders._residual import BasicBlock, Bottleneck, conv1x1
from ssl_core.encoders.base import Encoder, of_map, stage_features
from ssl_core.nn.norm import BatchNorm2d
from ssl_core.spec import ViewSpec
from ssl_core.types import Features

LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # table 1


class ResNet(Encoder):
    """Residual convolutional network with torchvision's blocks and parameter names."""

    class Config(NamedConfig):
        name: Literal["resnet"] = "resnet"
        depth: Literal[18, 34, 50, 101] = 18
        width: PositiveInt = 64
        """Channels of the first stage; each later stage doubles them. 16 suits small CPUs."""
        stem: Literal["auto", "imagenet", "small"] = "auto"
        """small: 3x3 without max-pooling (SimCLR, B.9); auto takes it for views of at most 64 px."""
        zero_init_residual: bool = False
        """Start each residual branch at zero (Goyal et al., 2017, section 5.1)."""
        weights: LocalPath | None = None
        """File with weights to start from (.safetensors, .pt, .pth), of torchvision's or timm's ResNet, which want
        width 64 and `stem: imagenet`, or of this one; null: random ones. Nothing is downloaded."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        view_shape = spec.shape
        small = config.stem == "small" or (config.stem == "auto" and max(view_shape[1:]) <= 64)
        block = BasicBlock if config.depth < 50 else Bottleneck
        width = config.width
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(view_shape[0], width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        one, two, three, four = LAYERS[config.depth]
        self.layer1 = _stage(block, width, width, one, stride=1)
        self.layer2 = _stage(block, width * block.expansion, 2 * width, two, stride=2)
        self.layer3 = _stage(block, 2 * width * block.expansion, 4 * width, three, stride=2)
        self.layer4 = _stage(block, 4 * width * block.expansion, 8 * width, four, stride=2)
        self.embed_dim = 8 * width * block.expansion
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if config.zero_init_residual and isinstance(layer, BasicBlock | Bottleneck):
                nn.init.zeros_(layer.last_norm.weight)
        if config.weights is not None:
            load_weights_(self, config.weights, f"encoder.depth {config.depth}, width {width}", "fc")

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return of_map(self.layer4(self.layer3(self.layer2(self.layer1(x)))))  # [B, D, H / 8 or H / 32, ...]

    def layer_features(self, x: Tensor, valid: Tensor | None = None) -> list[Features]:
        """Of the four stages."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return stage_features([self.layer1, self.layer2, self.layer3, self.layer4], x)


def _stage(block: type[BasicBlock | Bottleneck], before: int, width: int, count: int, stride: int) -> nn.Sequential:
    """`count` blocks of `width` channels; the first one strides and widens."""
    after = width * block.expansion
    shortcut = None
    if stride != 1 or before != after:
        shortcut = nn.Sequential(conv1x1(before, after, stride), BatchNorm2d(after))
    first = block(before, width, stride, shortcut)
    return nn.Sequential(first, *[block(after, width) for _ in range(count - 1)])
