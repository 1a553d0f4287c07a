"""Other layers of an encoder than its last as its features: the last one specializes in what it was trained for.

Shapes: B samples, D width of the chosen layers together.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from ssl_core.encoders.base import Encoder
from ssl_core.types import Features


class AtLayers(Encoder):
    """An encoder whose pooled features are those of some layers of another, side by side; tokens are the last one's."""

    def __init__(self, inner: Encoder, layers: Sequence[int]):
        self.axes, self.reads_valid = inner.axes, inner.reads_valid  # type: ignore[misc]  # those of this very encoder
        super().__init__(inner.spec)
        self.inner, self._layers = inner, tuple(layers)
        with torch.no_grad():
            widths = [x.pooled.shape[1] for x in _meta(inner)]
        count = len(widths)
        if outside := [layer for layer in layers if not -count <= layer < count]:
            name = type(inner).__module__.rpartition(".")[2]
            raise ValueError(
                f"evaluate.layer: {outside[0]}: encoder {name} has layers 0 to {count - 1} (-1 is the last one)"
            )
        self.embed_dim = sum(widths[layer] for layer in layers)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Features:
        """[B, *view_shape] -> pooled [B, D], tokens of the last chosen layer."""
        found = self.inner.layer_features(x, valid)
        chosen = [found[layer] for layer in self._layers]
        return Features(torch.cat([each.pooled for each in chosen], dim=1), chosen[-1].tokens)


def at_layers(encoder: Encoder, layers: Sequence[int]) -> Encoder:
    """The encoder itself, or its features at some of its layers.

    Args:
        layers: numbers from 0, or from -1 backwards; empty: the last layer's, as the encoder gives them.
    Raises:
        ValueError: there is no such layer.
    """
    return AtLayers(encoder, layers) if layers else encoder


def _meta(encoder: Encoder) -> list[Features]:
    """What the layers give, by shape alone: a copy without the tensors' memory is asked."""
    kept = [*encoder.parameters(), *encoder.buffers()]
    memo: dict[int, object] = {id(tensor): tensor.detach().to("meta") for tensor in kept}
    memo |= {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in encoder.parameters()}
    return deepcopy(encoder, memo).eval().layer_features(encoder.blank())
