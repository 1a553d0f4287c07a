"""Random resized crop and horizontal flip: parameters of a whole batch at once, then one pass per image.

Shapes: B samples, T tries per crop.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from ssl_core.augment._image.reduction import largest_reduction
from ssl_core.codecs._image.opencv import cv2
from ssl_core.codecs._image.resize import Image, image_shapes, resize
from ssl_core.config import NamedConfig
from ssl_core.noise import keyed_uniform

_TRIES = 10
CROP_DRAWS = 2 * _TRIES + 3
"""Columns of uniform numbers that a crop reads: area and ratio of each try, top, left, flip."""


class CropConfig(NamedConfig):
    """Knobs of a random resized crop; every chain that crops has them under the same names."""

    size: PositiveInt = 224
    """Side of a view in pixels."""
    crop_min: float = Field(default=0.08, gt=0, le=1)
    """Smallest crop, as a fraction of the image's area."""
    crop_max: float = Field(default=1.0, gt=0, le=1)
    """Largest crop, as a fraction of the image's area."""
    ratio_min: PositiveFloat = 3 / 4
    """Narrowest crop, width over height."""
    ratio_max: PositiveFloat = 4 / 3
    """Widest crop, width over height."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a horizontal flip."""

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        for low, high in (("crop_min", "crop_max"), ("ratio_min", "ratio_max")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} ({getattr(self, low)}) must not exceed {high} ({getattr(self, high)})")
        return self


def random_crops(images: Sequence[Image], draws: NDArray[np.float64], config: CropConfig) -> NDArray[np.uint8]:
    """Cut, resize and flip each image by its row of uniform draws.

    Args:
        images: B of [H, W, 3] uint8, sizes may differ.
        draws: [B, CROP_DRAWS] in [0, 1).
        config: crop ranges, view size and flip probability.
    Returns: [B, size, size, 3] uint8.
    """
    boxes = crop_boxes(image_shapes(images), draws, config).tolist()
    flips = (draws[:, -1] < config.flip).tolist()
    views = np.empty((len(images), config.size, config.size, 3), np.uint8)
    for image, (top, left, height, width), flip, view in zip(images, boxes, flips, views, strict=True):
        resize(image[top : top + height, left : left + width], view)
        if flip:
            cv2.flip(view, 1, dst=view)
    return views


def crop_reduction(
    shapes: NDArray[np.int64], sample_id: NDArray[np.int64], salt: int, config: CropConfig
) -> NDArray[np.int64]:
    """How far each image may shrink before `random_crops` by the draws of (sample_id, salt); [B] of 1, 2, 4, 8."""
    draws = keyed_uniform(sample_id, CROP_DRAWS, salt)  # [B, CROP_DRAWS]
    return largest_reduction(shapes, lambda reduced: crop_boxes(reduced, draws, config), config.size)


def crop_boxes(shapes: NDArray[np.int64], draws: NDArray[np.float64], config: CropConfig) -> NDArray[np.int64]:
    """Crop rectangles by the rule of torchvision's RandomResizedCrop: the first of ten tries that fits.

    Args:
        shapes: [B, 2] height and width of each image.
        draws: [B, CROP_DRAWS] in [0, 1).
        config: ranges of area and aspect ratio.
    Returns: [B, 4] top, left, height, width; inside the image and at least 1 x 1.
    """
    image_height, image_width = shapes[:, :1], shapes[:, 1:]  # [B, 1]
    share = config.crop_min + draws[:, :_TRIES] * (config.crop_max - config.crop_min)  # [B, T]
    low, high = np.log(config.ratio_min), np.log(config.ratio_max)
    ratio = np.exp(low + draws[:, _TRIES : 2 * _TRIES] * (high - low))  # [B, T] width over height
    area = share * image_height * image_width  # [B, T]
    width = np.rint(np.sqrt(area * ratio)).astype(np.int64)  # [B, T]
    height = np.rint(np.sqrt(area / ratio)).astype(np.int64)  # [B, T]
    fits = (width > 0) & (width <= image_width) & (height > 0) & (height <= image_height)  # [B, T]
    first = fits.argmax(axis=1, keepdims=True)  # [B, 1]
    size = np.concatenate([np.take_along_axis(height, first, 1), np.take_along_axis(width, first, 1)], 1)  # [B, 2]
    corner = np.floor(draws[:, 2 * _TRIES : 2 * _TRIES + 2] * (shapes - size + 1)).astype(np.int64)  # [B, 2]
    none_fits = ~fits.any(axis=1)
    size[none_fits] = _largest_centered(shapes[none_fits], config)
    corner[none_fits] = (shapes[none_fits] - size[none_fits]) // 2
    return np.concatenate([corner, size], axis=1)  # [B, 4]


def _largest_centered(shapes: NDArray[np.int64], config: CropConfig) -> NDArray[np.int64]:
    """Height and width of the largest crop within the ratio limits, [B, 2]: what is left when no try fits."""
    height, width = shapes[:, 0], shapes[:, 1]  # [B]
    most_height = np.rint(width / config.ratio_min).astype(np.int64)
    most_width = np.rint(height * config.ratio_max).astype(np.int64)
    size = np.stack([np.minimum(height, most_height), np.minimum(width, most_width)], axis=1)  # [B, 2]
    return np.asarray(np.maximum(size, 1), np.int64)
