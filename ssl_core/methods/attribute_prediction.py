"""Attribute prediction: tell an image's own statistics from its features: colors, edges, texture.

Hand-made descriptors are predicted as pretext, as hashed or clustered ones are elsewhere (Noroozi et al., 2018,
https://arxiv.org/abs/1805.00385, compare such targets). The encoder sees the view; statistics are of what it sees.
Shapes: B samples, A attributes.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import nn
from torch.nn.functional import smooth_l1_loss

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.nn.image_statistics import attributes, num_attributes
from ssl_core.nn.norm import BatchNorm1d
from ssl_core.spec import IMAGE_AXES
from ssl_core.types import Batch, LossOutput, Progress


class AttributePrediction(Method):
    """Predict an image's color histogram, edge directions and texture from its features."""

    view_kinds = ("global",)
    axes = IMAGE_AXES
    min_samples = 2  # attributes are standardized over the batch

    class Config(NamedConfig):
        name: Literal["attribute_prediction"] = "attribute_prediction"
        color_bins: PositiveInt = 8
        """Of each channel's histogram."""
        edge_bins: PositiveInt = 8
        """Directions of edges, from 0 to 180 degrees."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        channels, height, width = encoder.spec.shape
        if min(height, width) < 3:
            raise ValueError(f"method.name: edges need views of 3 px or more, not {height} x {width}")
        self.bins = (config.color_bins, config.edge_bins)
        count = num_attributes(channels, *self.bins)
        self.standardize = BatchNorm1d(count, affine=False)  # over all workers: attributes have scales of their own
        self.predict = nn.Linear(encoder.embed_dim, count)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        (view,) = batch.views
        predicted = self.predict(self.encoder(view).pooled).float()  # [B, A]
        with torch.no_grad():
            wanted = self.standardize(attributes(view.float(), *self.bins))
        return LossOutput(smooth_l1_loss(predicted, wanted), {"error": (predicted.detach() - wanted).square().mean()})
