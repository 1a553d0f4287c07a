"""The view that probes, reports and serving read: no randomness.

Shapes: B samples.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from ssl_core.augment._image.base import ImageAugmentation
from ssl_core.augment._image.reduction import largest_reduction
from ssl_core.codecs._image.resize import Image, image_shapes, resize
from ssl_core.config import NamedConfig


class ImageEval(ImageAugmentation):
    """Center crop and resize, the same every time: for evaluation and serving."""

    draws = False

    class Config(NamedConfig):
        name: Literal["image_eval"] = "image_eval"
        size: PositiveInt = 224
        """Side of a view in pixels."""
        crop_fraction: float = Field(default=0.875, gt=0, le=1)
        """Side of the center square over the shorter side (224 of 256: 0.875); images no larger than `size` keep 1."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.size)
        self.config = config

    def __call__(self, images: Sequence[Image], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.uint8]:
        """Cut the center square and resize it: B images -> [B, size, size, 3] uint8. Ignores sample_id and salt."""
        boxes = self._boxes(image_shapes(images)).tolist()
        views = np.empty((len(images), self.size, self.size, 3), np.uint8)
        for image, (top, left, height, width), view in zip(images, boxes, views, strict=True):
            # one resize of the square gives what resizing the whole image and cropping it would
            resize(image[top : top + height, left : left + width], view)
        return views

    def reduction(self, shapes: NDArray[np.int64], sample_id: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
        """As far as the square keeps `size` pixels: [B, 2] heights and widths -> [B] of 1, 2, 4, 8."""
        return largest_reduction(shapes, self._boxes, self.size)

    def _boxes(self, shapes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Center squares: [B, 2] heights and widths -> [B, 4] top, left, height, width."""
        shorter = shapes.min(axis=1)  # [B]
        fraction = np.where(shorter > self.size, self.config.crop_fraction, 1.0)
        side = np.maximum(np.rint(shorter * fraction).astype(np.int64), 1)[:, None]  # [B, 1]
        return np.concatenate([(shapes - side) // 2, side, side], axis=1)  # [B, 4]
