"""What processing does: contrast, bends, coarse pixels, JPEG (Hendrycks & Dietterich 2019, see _corruptions.py)."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._image.corruption_base import Draw, levels
from ssl_core.codecs._image.opencv import cv2
from ssl_core.codecs._image.resize import Image


def contrast(view: Image, kept: float, draw: Draw) -> Image:
    mean = view.mean(axis=(0, 1))  # [3]
    return levels((view - mean) * kept + mean)


def elastic(view: Image, setting: tuple[float, float, float], draw: Draw) -> Image:
    """A random affine map, then every pixel displaced by smoothed noise (Simard et al. 2003); edges are mirrored."""
    strength, sigma, shift = setting
    height, width = view.shape[:2]
    corner, noise = np.split(2 * draw(6 + 2 * height * width) - 1, [6])
    middle, reach = np.array([width // 2, height // 2], np.float32), max(min(height, width) // 3, 1)
    before = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]], np.float32)  # [3, 2]
    affine = cv2.getAffineTransform(before, before + np.float32(shift) * corner.reshape(3, 2).astype(np.float32))
    bent = cv2.warpAffine(view.astype(np.float32), affine, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    rows, columns = smoother(height, sigma), smoother(width, sigma)
    right, down = strength * (rows @ noise.reshape(2, height, width) @ columns.T)  # [H, W] each
    y, x = np.mgrid[:height, :width]
    places = (x + right).astype(np.float32), (y + down).astype(np.float32)
    return levels(cv2.remap(bent, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def pixelate(view: Image, share: float, draw: Draw) -> Image:
    height, width = view.shape[:2]
    small = max(int(width * share), 1), max(int(height * share), 1)
    coarse = cv2.resize(view, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


def jpeg(view: Image, quality: int, draw: Draw) -> Image:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(view, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


@lru_cache(maxsize=32)
def smoother(size: int, sigma: float) -> NDArray[np.float64]:
    """A Gaussian of 3 standard deviations along a mirrored side, as a matrix: [size, size].

    As wide as the image or wider (ImageNet-C's mildest has 171 pixels), so that a filter would mostly read borders.
    """
    reach = int(3 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-9)) ** 2)
    source = np.pad(np.arange(size), reach, mode="symmetric")  # [size + 2 * reach]
    matrix = np.zeros((size, size))
    for tap, share in enumerate(taps / taps.sum()):
        np.add.at(matrix, (np.arange(size), source[tap : tap + size]), share)
    return matrix
