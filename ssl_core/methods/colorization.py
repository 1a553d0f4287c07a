"""Colorization: tell colors from lightness (Zhang et al., 2016, https://arxiv.org/abs/1603.08511).

The encoder sees the picture without color, in three channels as ever, so it reads colored ones later. Each of its
positions predicts the color of the part of the picture that it stands for, as a distribution over bins of the a*b*
plane: a mean would be gray where several colors are likely. The paper's weights for rare colors, which make pictures
vivid, are left out. Shapes: B samples, N positions of n a side, Q bins.
"""

from math import isqrt
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, interpolate, softmax

from ssl_core.config import NamedConfig
from ssl_core.encoders.base import Encoder
from ssl_core.methods.base import Method
from ssl_core.nn.lab import from_lab, gray_of, to_lab
from ssl_core.spec import IMAGE_AXES
from ssl_core.types import Batch, LossOutput, Progress


class Colorization(Method):
    """Predict an image's colors, part by part, from its lightness."""

    view_kinds = ("global",)
    axes = IMAGE_AXES
    centers: Tensor

    class Config(NamedConfig):
        name: Literal["colorization"] = "colorization"
        bins: Annotated[int, Field(ge=2)] = 21
        """Along each of a* and b*; the paper's bins are 10 wide (section 2.1)."""
        reach: Annotated[float, Field(gt=0)] = 100.0
        """Of the bins, from - to +; stronger colors count as the outermost."""

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__(encoder)
        channels, height, width = encoder.spec.shape
        if channels != 3 or height != width:
            raise ValueError(
                f"method.name: colorization needs square views of three channels; these are {encoder.spec}"
            )
        self.classifier = nn.Linear(encoder.embed_dim, config.bins**2)
        self.register_buffer("centers", torch.linspace(-config.reach, config.reach, config.bins), persistent=False)

    def forward(self, batch: Batch, progress: Progress) -> LossOutput:
        (view,) = batch.views
        logits = self.classifier(self.encoder(gray_of(view)).tokens)  # [B, N, Q]
        with torch.no_grad():
            color = adaptive_avg_pool2d(to_lab(view)[:, 1:], isqrt(logits.shape[1])).flatten(2)  # [B, 2, N]
            targets = self._shared_out(color)
            error = (self._expected(logits) - color).square().sum(1).sqrt().mean()  # in units of a* and b*
        loss = cross_entropy(logits.flatten(0, 1).float(), targets.flatten(0, 1))
        return LossOutput(loss, {"color_error": error})

    def _shared_out(self, color: Tensor) -> Tensor:
        """Colors [B, 2, N] -> each shared out among the four nearest bins, [B, N, Q]."""
        width = self.centers[1] - self.centers[0]
        inside = color.clamp(self.centers[0], self.centers[-1])
        a, b = (1 - (inside[..., None] - self.centers).abs() / width).clamp_min(0).unbind(1)  # [B, N, bins] each
        return (a[..., None] * b[..., None, :]).flatten(2)

    def _expected(self, logits: Tensor) -> Tensor:
        """[B, N, Q] -> mean colors [B, 2, N]."""
        side = len(self.centers)
        p = softmax(logits.float(), dim=-1).unflatten(2, (side, side))  # [B, N, a, b]
        return torch.stack([p.sum(3) @ self.centers, p.sum(2) @ self.centers], dim=1)

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Views without color, and with the colors that are expected, [B, *view_shape] each."""
        (view,) = batch.views
        gray = gray_of(view)
        color = self._expected(self.classifier(self.encoder(gray).tokens))  # [B, 2, N]
        side = isqrt(color.shape[2])
        spread = interpolate(color.unflatten(2, (side, side)), size=view.shape[2:], mode="bilinear")
        return gray, from_lab(torch.cat([to_lab(gray)[:, :1], spread], dim=1)).to(view.dtype)
