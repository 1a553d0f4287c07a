"""Blur of the lens, of frosted glass and of movement (Hendrycks & Dietterich 2019, see _corruptions.py)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._image.corruption_base import Draw, levels
from ssl_core.codecs._image.opencv import cv2
from ssl_core.codecs._image.resize import Image


def defocus_blur(view: Image, setting: tuple[float, float], draw: Draw) -> Image:
    radius, edge = setting
    reach = max(8, int(radius))
    x, y = np.meshgrid(*[np.arange(-reach, reach + 1)] * 2)
    disk = (x * x + y * y <= radius * radius).astype(np.float32)
    size = 3 if radius <= 8 else 5
    kernel = cv2.GaussianBlur(disk / disk.sum(), (size, size), edge)
    return levels(cv2.filter2D(view.astype(np.float32), -1, kernel))


def gaussian_blur(view: Image, sigma: float, draw: Draw) -> Image:
    return levels(cv2.GaussianBlur(view.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def glass_blur(view: Image, setting: tuple[float, int, int], draw: Draw) -> Image:
    """Gaussian blur, then each pixel from the last to the first takes the color of one nearby, then blur again.

    The published code means to exchange the two, but what it assigns is a view of what it has just overwritten: one
    color is lost and the other doubled. The published sets are made so, and this is too.
    """
    sigma, reach, rounds = setting
    height, width = view.shape[:2]
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    here = (rows[:, None] * width + columns).ravel()  # [n]
    down, right = np.floor(draw(2 * rounds * len(here)) * 2 * reach).astype(int).reshape(2, rounds, -1) - reach
    there = here + down * width + right  # [rounds, n]
    source = list(range(height * width))
    for nearby in there.tolist():
        for pixel, other in zip(here.tolist(), nearby, strict=True):
            source[pixel] = source[other]
    moved = gaussian_blur(view, sigma, draw).reshape(-1, 3)[source].reshape(view.shape)
    return gaussian_blur(moved, sigma, draw)


def motion_blur(view: Image, setting: tuple[int, float], draw: Draw) -> Image:
    """Along a path of -45 to 45 degrees."""
    radius, sigma = setting
    return levels(streaked(view.astype(np.float32), radius, sigma, np.pi / 2 * (draw(1)[0] - 0.5)))


def zoom_blur(view: Image, setting: tuple[float, float], draw: Draw) -> Image:
    """Mean of the view and of itself enlarged by 1, 1 + step and so on."""
    stop, step = setting
    factors, pixels = np.arange(1, stop, step), view.astype(np.float32)
    return levels(sum((zoomed(pixels, factor) for factor in factors), pixels) / (len(factors) + 1))


def streaked(pixels: NDArray[Any], radius: int, sigma: float, angle: float) -> NDArray[Any]:
    """A half Gaussian along a straight path, as ImageMagick's motion blur; edges repeat.

    Args:
        pixels: [H, W, ...] float32.
        angle: of the path, radians.
    """
    at = np.arange(2 * radius + 1)
    column, row = np.rint(at * np.cos(angle)).astype(int), np.rint(at * np.sin(angle)).astype(int)
    kernel = np.zeros((4 * radius + 1, 4 * radius + 1), np.float32)
    kernel[2 * radius + row, 2 * radius + column] = np.exp(-at * at / (2 * sigma * sigma))
    return np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))


def zoomed(pixels: NDArray[Any], factor: float) -> NDArray[Any]:
    """The middle of an image enlarged to its own size, linear, its corners on corners as scipy.ndimage.zoom has them.

    Args:
        pixels: [H, W, ...] float32.
    """
    height, width = pixels.shape[:2]
    (down, top), (across, left) = _places(height, factor), _places(width, factor)
    inverse = np.array([[across, 0, left], [0, down, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, inverse, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _places(size: int, factor: float) -> tuple[float, float]:
    """Step and first place along a side in the source of an enlarged middle."""
    kept = math.ceil(size / factor)
    grown = round(kept * factor)
    step = (kept - 1) / max(grown - 1, 1)
    return step, (size - kept) // 2 + (grown - size) // 2 * step
