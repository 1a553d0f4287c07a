"""Gaussian blur with a kernel no longer than it must be."""

import math

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._opencv import cv2
from ssl_core.augment.base import Image


def kernel_size(size: int) -> int:
    """Full kernel for views of `size` pixels: a tenth of the side, made odd (SimCLR, appendix A: 23 at 224)."""
    return size // 10 // 2 * 2 + 1


def blur_(view: Image, sigma: float, largest: int) -> None:
    """Blur in place; the borders are mirrored as in torchvision.

    Weights beyond 3 sigma sum to under 0.3 %, so the kernel ends there. A separable filter with float weights is
    up to 4 times faster than cv2.GaussianBlur, whose weights have only 8 bits (OpenCV 5.0, kernels of 7 to 23).

    Args:
        view: [H, W, 3] uint8.
        sigma: standard deviation in pixels.
        largest: odd length of the full kernel; 1 leaves the view as it is.
    """
    length = min(largest, 2 * math.ceil(3 * sigma) + 1)
    if length > 1:
        kernel = cv2.getGaussianKernel(length, sigma, cv2.CV_32F)  # [K, 1]
        cv2.sepFilter2D(view, -1, kernel, kernel, dst=view, borderType=cv2.BORDER_REFLECT_101)


def blur_kernels(sigma: NDArray[np.float64], largest: int) -> NDArray[np.float32]:
    """The kernels of `blur_` for many images, all of the full length, zero beyond 3 sigma: [n] -> [n, largest]."""
    taps = np.abs(np.arange(largest) - largest // 2)  # [K]
    weights = np.exp(-(taps**2) / (2 * sigma[:, None] ** 2)) * (taps <= np.ceil(3 * sigma)[:, None])  # [n, K]
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def solarize_(view: Image, threshold: int) -> None:
    """Invert every value at or above the threshold (0..256), in place."""
    levels = np.arange(256, dtype=np.uint8)
    cv2.LUT(view, np.where(levels >= threshold, 255 - levels, levels), dst=view)
