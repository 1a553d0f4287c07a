"""Crop, flip, color jitter, gray, blur, solarize: the views of SimCLR, MoCo v2 and BYOL.

Chen et al., 2020, appendix A (https://arxiv.org/abs/2002.05709); solarize: Grill et al., 2020, appendix B
(https://arxiv.org/abs/2006.07733).

Shapes: B samples.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from ssl_core.augment._image.base import ImageAugmentation
from ssl_core.augment._image.blur import blur_, kernel_size, solarize_
from ssl_core.augment._image.color import JITTER, gray_
from ssl_core.augment._image.color_draws import COLOR_DRAWS, ColorDraws, color_draws
from ssl_core.augment._image.color_matrix import recolor_
from ssl_core.augment._image.crop import CROP_DRAWS, CropConfig, crop_reduction, random_crops
from ssl_core.codecs._image.resize import Image
from ssl_core.noise import keyed_uniform

if TYPE_CHECKING:
    from torch import Tensor


class ImageCropJitter(ImageAugmentation):
    """Random crop, flip, color jitter, gray, blur and solarize: views for contrastive methods."""

    class Config(CropConfig):
        name: Literal["image_crop_jitter"] = "image_crop_jitter"
        jitter: float = Field(default=0.8, ge=0, le=1)
        """Probability of color jitter."""
        strength: NonNegativeFloat = 1.0
        """Multiplies the four strengths below (SimCLR: 1 on ImageNet, 0.5 on CIFAR-10)."""
        brightness: NonNegativeFloat = 0.8
        """Factors span 1 - brightness to 1 + brightness."""
        contrast: NonNegativeFloat = 0.8
        """Factors span 1 - contrast to 1 + contrast."""
        saturation: NonNegativeFloat = 0.8
        """Factors span 1 - saturation to 1 + saturation."""
        hue: float = Field(default=0.2, ge=0, le=0.5)
        """Largest turn of the color circle, either way; 0.5 reaches every hue."""
        gray: float = Field(default=0.2, ge=0, le=1)
        """Probability of gray."""
        blur: float = Field(default=0.5, ge=0, le=1)
        """Probability of a Gaussian blur; the kernel spans a tenth of the view (none under 20 pixels)."""
        blur_sigma_min: PositiveFloat = 0.1
        """Weakest blur, standard deviation in pixels of the view."""
        blur_sigma_max: PositiveFloat = 2.0
        """Strongest blur, standard deviation in pixels of the view."""
        solarize: float = Field(default=0.0, ge=0, le=1)
        """Probability of solarizing (BYOL: 0.2 in its second view)."""
        solarize_threshold: int = Field(default=128, ge=0, le=256)
        """Values at or above it are inverted."""
        mode: Literal["exact", "fused"] = "fused"
        """exact: operations in turn, as torchvision, in the Ray Data tasks only; fused: jitter and gray as one matrix,
        unclipped in between."""
        where: Literal["data", "worker"] = "data"
        """data: all in the Ray Data tasks; worker: only crop and flip there, the rest by the same draws in `finish`."""

        @model_validator(mode="after")
        def _values_agree(self) -> Self:
            if self.mode == "exact" and self.where == "worker":
                raise ValueError("mode: exact runs in the Ray Data tasks only; set where: data, or mode: fused")
            if self.hue * self.strength > 0.5:
                raise ValueError(f"hue * strength is {self.hue * self.strength:g}; lower one until it is at most 0.5")
            if self.blur_sigma_min > self.blur_sigma_max:
                raise ValueError(
                    f"blur_sigma_min ({self.blur_sigma_min}) must not exceed blur_sigma_max ({self.blur_sigma_max})"
                )
            return self

    def __init__(self, config: Config) -> None:
        super().__init__(config.size)
        self.config = config

    def __call__(self, images: Sequence[Image], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.uint8]:
        """Draw every parameter of the batch, then work image by image: B images -> [B, size, size, 3] uint8."""
        draws = keyed_uniform(sample_id, CROP_DRAWS + COLOR_DRAWS, salt)  # [B, draws]
        views = random_crops(images, draws[:, :CROP_DRAWS], self.config)  # [B, size, size, 3]
        if self.config.where == "data":
            self._distort_(views, self._color(draws))
        return views

    def reduction(self, shapes: NDArray[np.int64], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
        """As far as the crop keeps `size` pixels on both sides: [B, 2] heights and widths -> [B] of 1, 2, 4, 8."""
        return crop_reduction(shapes, sample_id, salt, self.config)

    def finish(self, view: "Tensor", sample_id: NDArray[np.int64] | None = None, salt: int | None = None) -> "Tensor":
        """Normalize; with where: worker first jitter, gray, blur and solarize, by the draws of `__call__`.

        Raises:
            ValueError: where: worker without salt or without one sample id per view.
        """
        if self.config.where == "data":
            return super().finish(view)
        if sample_id is None or salt is None or len(sample_id) != len(view):
            raise ValueError("with where: worker, `finish` needs the sample_id of each view and the salt")
        from ssl_core.augment._image.device import distorted

        color = self._color(keyed_uniform(sample_id, CROP_DRAWS + COLOR_DRAWS, salt))
        return super().finish(distorted(view, color, self.config.solarize_threshold))

    def _distort_(self, views: NDArray[np.uint8], color: ColorDraws) -> None:
        if self.config.mode == "fused":
            recolor_(views, color)
        else:
            _recolor_in_turn_(views, color)
        blurred = np.flatnonzero(color.blurs)
        blur_(views, blurred, color.sigma[blurred], kernel_size(self.size))
        for row in np.flatnonzero(color.solarizes).tolist():
            solarize_(views[row], self.config.solarize_threshold)

    def _color(self, draws: NDArray[np.float64]) -> ColorDraws:
        c = self.config
        strengths = c.brightness * c.strength, c.contrast * c.strength, c.saturation * c.strength, c.hue * c.strength
        probabilities = c.jitter, c.gray, c.blur, c.solarize
        return color_draws(draws[:, CROP_DRAWS:], strengths, probabilities, (c.blur_sigma_min, c.blur_sigma_max))


def _recolor_in_turn_(views: NDArray[np.uint8], color: ColorDraws) -> None:
    amount, order = color.amount.tolist(), color.order.tolist()
    for row in np.flatnonzero(color.jitters).tolist():
        for operation in order[row]:
            JITTER[operation](views[row], amount[row][operation])
    for row in np.flatnonzero(color.grays).tolist():
        gray_(views[row])
