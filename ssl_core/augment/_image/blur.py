"""Gaussian blur with a kernel no longer than it must be."""

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs._image.opencv import cv2
from ssl_core.codecs._image.resize import Image


def kernel_size(size: int) -> int:
    """Full kernel for views of `size` pixels: a tenth of the side, made odd (SimCLR, appendix A: 23 at 224)."""
    return size // 10 // 2 * 2 + 1


def blur_(views: NDArray[np.uint8], rows: NDArray[np.int64], sigma: NDArray[np.float64], largest: int) -> None:
    """Blur some views of a batch in place; the borders are mirrored as in torchvision.

    Weights beyond 3 sigma sum to under 0.3 %, so a kernel ends there. A separable filter with float weights is
    up to 4 times faster than cv2.GaussianBlur, whose weights have only 8 bits (OpenCV 5.0, kernels of 7 to 23).

    Args:
        views: [B, H, W, 3] uint8.
        rows: [n] which.
        sigma: [n] standard deviations in pixels.
        largest: odd length of the full kernel; 1 leaves the views as they are.
    """
    if largest == 1:
        return
    middle = largest // 2
    reaches = np.minimum(np.ceil(3 * sigma).astype(np.int64), middle).tolist()
    for row, reach, kernel in zip(rows.tolist(), reaches, blur_kernels(sigma, largest), strict=True):
        taps = kernel[middle - reach : middle + reach + 1]
        cv2.sepFilter2D(views[row], -1, taps, taps, dst=views[row], borderType=cv2.BORDER_REFLECT_101)


def blur_kernels(sigma: NDArray[np.float64], largest: int) -> NDArray[np.float32]:
    """Gaussian kernels of many images, all of the full length, zero beyond 3 sigma: [n] -> [n, largest]."""
    taps = np.abs(np.arange(largest) - largest // 2)  # [K]
    weights = np.exp(-(taps**2) / (2 * sigma[:, None] ** 2)) * (taps <= np.ceil(3 * sigma)[:, None])  # [n, K]
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def solarize_(view: Image, threshold: int) -> None:
    """Invert every value at or above the threshold (0..256), in place."""
    levels = np.arange(256, dtype=np.uint8)
    cv2.LUT(view, np.where(levels >= threshold, 255 - levels, levels), dst=view)
