"""Networks of the timm library (https://github.com/huggingface/pytorch-image-models), where it is installed.

Shapes: B samples, D width of the pooled features.
"""

from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ssl_core.augment._image.base import MEAN, STD
from ssl_core.config import LocalPath, NamedConfig
from ssl_core.encoders._published import as_rgb, check_view, deterministic_, load_weights_
from ssl_core.encoders.base import Encoder, opened
from ssl_core.spec import ViewSpec
from ssl_core.types import Features


class Timm(Encoder):
    """A timm network; pooled is what its classification layer reads. Needs `pip install timm`."""

    package: ClassVar[str | None] = "timm"
    scale: Tensor
    shift: Tensor

    class Config(NamedConfig):
        name: Literal["timm"] = "timm"
        model: str = "resnet18"
        """A name of timm.list_models(), e.g. vit_small_patch16_224."""
        weights: LocalPath | None = None
        """File with its state_dict (.safetensors, .pt, .pth); null: random weights. Nothing is downloaded."""

    def __init__(self, config: Config, spec: ViewSpec):
        super().__init__(spec)
        view_shape = spec.shape
        check_view("timm", spec)
        if find_spec("timm") is None:
            raise ValueError(
                "encoder.name: timm is not installed; `pip install timm`, or take encoder.name torchvision"
            )
        from timm import create_model, is_model

        if not is_model(config.model):
            raise ValueError(f"encoder.model: timm has no network '{config.model}'")
        self.network: Any = create_model(config.model, pretrained=False, num_classes=0)
        known: dict[str, Any] = self.network.pretrained_cfg
        if known.get("fixed_input_size") and tuple(known["input_size"][1:]) != view_shape[1:]:
            sized = {"pretrained": False, "num_classes": 0, "img_size": view_shape[1:]}
            self.network = create_model(config.model, **sized)
        self.embed_dim = int(self.network.num_features)
        deterministic_(self.network)
        # views come with ImageNet's mean and deviation; what the weights were trained with may be another one
        mean, std = (torch.tensor(known[key]).view(3, 1, 1) for key in ("mean", "std"))  # [3, 1, 1]
        ours, spread = (torch.tensor(levels).view(3, 1, 1) / 255 for levels in (MEAN, STD))  # [3, 1, 1]
        self.register_buffer("scale", spread / std, persistent=False)
        self.register_buffer("shift", (ours - mean) / std, persistent=False)
        if config.weights is not None:
            load_weights_(
                self.network, config.weights, f"encoder.model {config.model}", str(known.get("classifier") or "head")
            )

    def layers(self) -> list[nn.Module]:
        return opened(self.network)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        pooled: Tensor = self.network(as_rgb(x) * self.scale + self.shift)  # [B, D]
        return Features(pooled=pooled, tokens=pooled[:, None])  # [B, D], [B, 1, D]: these networks share no token form
