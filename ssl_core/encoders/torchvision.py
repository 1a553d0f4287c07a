"""Classification networks of torchvision, to compare with what is already there or to start from.

Shapes: B samples, D input width of the classification layer.
"""

from typing import ClassVar, Literal

from torch import Tensor, nn

from ssl_core.config import LocalPath, NamedConfig
from ssl_core.encoders._published import as_rgb, check_view, deterministic_, load_weights_, without_head_
from ssl_core.encoders.base import Encoder, opened
from ssl_core.spec import ViewSpec
from ssl_core.types import Features

AUXILIARY = {"googlenet", "inception_v3"}  # while they train they return several outputs


class TorchVision(Encoder):
    """A torchvision classification network; pooled is what its classification layer reads."""

    package: ClassVar[str | None] = "torchvision"

    class Config(NamedConfig):
        name: Literal["torchvision"] = "torchvision"
        model: str = "resnet18"
        """A name of torchvision.models, e.g. resnet50, convnext_tiny, vit_b_16."""
        weights: LocalPath | None = None
        """File with its state_dict (.safetensors, .pt, .pth); null: random weights. Nothing is downloaded.

        Published weights expect views of 224 px with ImageNet's mean and deviation, which is what image_eval gives.
        """

    def __init__(self, config: Config, spec: ViewSpec):
        from torchvision import models  # imports torch's compiler: five seconds, for those who ask for it

        super().__init__(spec)
        view_shape = spec.shape
        check_view("torchvision", spec)
        if config.model not in set(models.list_models(module=models)) - AUXILIARY:
            raise ValueError(f"encoder.model: torchvision has no classification network '{config.model}'")
        sized = {"image_size": view_shape[1]} if config.model.startswith("vit_") else {}
        try:
            self.network: nn.Module = models.get_model(config.model, weights=None, **sized)
            head, self.embed_dim = without_head_(self.network)
        except (ValueError, AssertionError) as error:  # torchvision checks the size with an assertion
            raise ValueError(f"encoder.model: {config.model} cannot be built for {view_shape}: {error}") from None
        deterministic_(self.network)
        if config.weights is not None:
            load_weights_(self.network, config.weights, f"encoder.model {config.model}", head)

    def layers(self) -> list[nn.Module]:
        inner = getattr(self.network, "encoder", None)  # of its transformers: positions, blocks, norm
        if inner is None:
            return opened(self.network)
        return [*(part for part in self.network.children() if part is not inner), *inner.layers, inner.ln]

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        pooled: Tensor = self.network(as_rgb(x)).flatten(1)  # [B, D]
        return Features(pooled=pooled, tokens=pooled[:, None])  # [B, D], [B, 1, D]: these networks share no token form
