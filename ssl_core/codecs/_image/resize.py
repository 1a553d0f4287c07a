"""Bilinear resizing into a given array, with antialiasing where an image shrinks."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs._image.opencv import cv2

Image = NDArray[np.uint8]  # [H, W, 3] RGB, any size

# Beyond this factor a prefilter costs more than averaging the source pixels under each output pixel.
_AREA_FACTOR = 3.0


def image_shapes(images: Sequence[Image]) -> NDArray[np.int64]:
    """Heights and widths, [B, 2].

    Raises:
        ValueError: an image is not [H, W, 3] uint8. Must be checked: OpenCV ignores an output array of another
            type and would leave it unwritten.
    """
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"an image must be [H, W, 3] uint8, not {list(image.shape)} {image.dtype}")
    return np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2)


def resize(image: Image, out: Image) -> None:
    """Resize `image` into `out`, both [H, W, 3] uint8.

    An antialiased bilinear filter (torchvision, Pillow) is a triangle as wide as the shrink factor s; its variance
    is s^2 / 6 source pixels. Plain bilinear sampling has 1 / 6, so a short prefilter with the difference gives the
    same blur, within 1.1 levels on average (test_augment_crop.py), at a third of the cost of INTER_AREA.
    """
    (height, width, _), size = image.shape, (out.shape[1], out.shape[0])  # OpenCV wants (width, height)
    if width > size[0] or height > size[1]:
        shrink_x, shrink_y = width / size[0], height / size[1]
        if max(shrink_x, shrink_y) > _AREA_FACTOR:
            cv2.resize(image, size, dst=out, interpolation=cv2.INTER_AREA)
            return
        kernels = _prefilter(shrink_x), _prefilter(shrink_y)
        image = cv2.sepFilter2D(image, -1, *kernels, borderType=cv2.BORDER_REPLICATE)
    cv2.resize(image, size, dst=out, interpolation=cv2.INTER_LINEAR)


def _prefilter(shrink: float) -> NDArray[np.float32]:
    """The kernel whose variance is (s^2 - 1) / 6, [K]."""
    variance = max(shrink * shrink - 1, 0) / 6
    if variance <= 0.5:  # a sampled Gaussian this narrow would miss the variance; three taps hit it exactly
        return np.array([variance / 2, 1 - variance, variance / 2], np.float32)
    taps = np.arange(-(radius := math.ceil(2.5 * variance**0.5)), radius + 1)
    kernel = np.exp(-taps * taps / (2 * variance))
    return np.asarray(kernel / kernel.sum(), np.float32)
