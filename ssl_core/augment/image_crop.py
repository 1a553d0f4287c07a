"""Random resized crop and flip, for masked and autoencoding methods (He et al., 2022, https://arxiv.org/abs/2111.06377).

Shapes: B samples.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ssl_core.augment._image.base import ImageAugmentation
from ssl_core.augment._image.crop import CROP_DRAWS, CropConfig, crop_reduction, random_crops
from ssl_core.codecs._image.resize import Image
from ssl_core.noise import keyed_uniform


class ImageCrop(ImageAugmentation):
    """Random resized crop and horizontal flip, colors untouched: for masked and autoencoding methods."""

    class Config(CropConfig):
        name: Literal["image_crop"] = "image_crop"
        crop_min: float = Field(default=0.2, gt=0, le=1)
        """Smallest crop, as a fraction of the image's area (0.2 as in the published code of MAE)."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.size)
        self.config = config

    def __call__(self, images: Sequence[Image], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.uint8]:
        """Crop, resize and flip: B images -> [B, size, size, 3] uint8."""
        return random_crops(images, keyed_uniform(sample_id, CROP_DRAWS, salt), self.config)

    def reduction(self, shapes: NDArray[np.int64], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
        """As far as the crop keeps `size` pixels on both sides: [B, 2] heights and widths -> [B] of 1, 2, 4, 8."""
        return crop_reduction(shapes, sample_id, salt, self.config)
