"""The two residual blocks of ResNet (He et al., 2016, figure 5), under torchvision's parameter names.

Our own lines rather than torchvision's: importing that package loads torch's compiler, five seconds in
every process of a run. tests/ssl_core/encoders/test_encoders.py holds names, shapes and outputs equal to its models.

Shapes: B samples, C channels in, E channels out.
"""

from typing import ClassVar

from torch import Tensor, nn

from ssl_core.nn.norm import BatchNorm2d


def conv1x1(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 1, stride, bias=False)


def conv3x3(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, for ResNet-18 and -34."""

    expansion: ClassVar[int] = 1

    def __init__(self, before: int, width: int, stride: int = 1, shortcut: nn.Module | None = None):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(before, width, stride), BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv3x3(width, width), BatchNorm2d(width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, E, H / stride, W / stride]."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))

    @property
    def last_norm(self) -> BatchNorm2d:
        return self.bn2


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 for ResNet-50 and deeper; the 3x3 strides (ResNet v1.5, as torchvision's)."""

    expansion: ClassVar[int] = 4

    def __init__(self, before: int, width: int, stride: int = 1, shortcut: nn.Module | None = None):
        super().__init__()
        self.conv1, self.bn1 = conv1x1(before, width), BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width, stride), BatchNorm2d(width)
        self.conv3, self.bn3 = conv1x1(width, width * self.expansion), BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, E, H / stride, W / stride]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))

    @property
    def last_norm(self) -> BatchNorm2d:
        return self.bn3
