"""Common corruptions of images at five severities, each a pure function of pixels and keyed draws.

Hendrycks & Dietterich 2019 (https://arxiv.org/abs/1903.12261): the settings are those of CIFAR-10-C for views of up
to 64 pixels and of ImageNet-C above. Results are truncated to whole levels, as the published sets are. Here are nine
of their 15 kinds and gaussian_blur of the four extra ones; fog, snow, frost, elastic, glass and zoom are left out.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._opencv import cv2
from ssl_core.augment.base import Image
from ssl_core.noise import keyed_uniform, salt

Kind = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "motion_blur",
    "brightness", "contrast", "pixelate", "jpeg", "gaussian_blur",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

Draw = Callable[[int], NDArray[np.float64]]
"""How many -> so many uniform numbers in [0, 1), keyed by sample."""

_SMALL, _CIFAR, _IMAGENET = 64, 0, 1
_SETTINGS: dict[Kind, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "gaussian_noise": ((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),  # standard deviation
    "shot_noise": ((500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),  # photons of a white pixel
    "impulse_noise": ((0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),  # share of values
    "defocus_blur": (  # radius of the disk, blur of its edge
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "motion_blur": (  # radius, standard deviation along the path
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "brightness": ((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),  # added to the value of HSV
    "contrast": ((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),  # what is left of it
    "pixelate": ((0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),  # share of the side
    "jpeg": ((80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),  # quality
    "gaussian_blur": ((0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6)),  # standard deviation, pixels
}


def corrupt(view: Image, kind: Kind, severity: int, sample_id: int, key: int) -> Image:
    """One corrupted copy of a view.

    The draws do not depend on the severity, so that five severities of a sample differ in strength alone.

    Args:
        view: [H, W, 3] uint8.
        severity: 1 to 5.
        sample_id, key: what the draws are keyed by.
    Returns: [H, W, 3] uint8.
    """
    setting = _SETTINGS[kind][_CIFAR if max(view.shape) <= _SMALL else _IMAGENET][severity - 1]

    def draw(count: int) -> NDArray[np.float64]:
        return keyed_uniform(np.array([sample_id]), count, salt(key, KINDS.index(kind)))[0]

    return _CORRUPTIONS[kind](view, setting, draw)


def _gaussian_noise(view: Image, deviation: float, draw: Draw) -> Image:
    half = (view.size + 1) // 2
    first, second = draw(2 * half).reshape(2, half)
    distance, angle = np.sqrt(-2 * np.log1p(-first)), 2 * np.pi * second  # Box & Muller 1958
    normal = np.concatenate([distance * np.cos(angle), distance * np.sin(angle)])[: view.size]
    return _levels(view + 255 * deviation * normal.reshape(view.shape))


def _shot_noise(view: Image, photons: float, draw: Draw) -> Image:
    bounds, width = _poisson_bounds(photons)
    count = np.searchsorted(bounds, view.ravel() + draw(view.size), side="right") - width * view.ravel().astype(int)
    return _levels(255 / photons * np.minimum(count, width - 1).reshape(view.shape))


def _impulse_noise(view: Image, share: float, draw: Draw) -> Image:
    u = draw(view.size).reshape(view.shape)
    return np.where(u < share / 2, 0, np.where(u >= 1 - share / 2, 255, view)).astype(np.uint8)


def _defocus_blur(view: Image, setting: tuple[float, float], draw: Draw) -> Image:
    radius, edge = setting
    reach = max(8, int(radius))
    x, y = np.meshgrid(*[np.arange(-reach, reach + 1)] * 2)
    disk = (x * x + y * y <= radius * radius).astype(np.float32)
    size = 3 if radius <= 8 else 5
    kernel = cv2.GaussianBlur(disk / disk.sum(), (size, size), edge)
    return _levels(cv2.filter2D(view.astype(np.float32), -1, kernel))


def _gaussian_blur(view: Image, sigma: float, draw: Draw) -> Image:
    return _levels(cv2.GaussianBlur(view.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def _motion_blur(view: Image, setting: tuple[int, float], draw: Draw) -> Image:
    """A half Gaussian along a straight path of -45 to 45 degrees, as ImageMagick's motion blur; edges repeat."""
    radius, sigma = setting
    angle = np.pi / 2 * (draw(1)[0] - 0.5)
    at = np.arange(2 * radius + 1)
    column, row = np.rint(at * np.cos(angle)).astype(int), np.rint(at * np.sin(angle)).astype(int)
    kernel = np.zeros((4 * radius + 1, 4 * radius + 1), np.float32)
    kernel[2 * radius + row, 2 * radius + column] = np.exp(-at * at / (2 * sigma * sigma))
    return _levels(cv2.filter2D(view.astype(np.float32), -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))


def _brightness(view: Image, added: float, draw: Draw) -> Image:
    """Raising the value of HSV scales all three channels alike; black has no color to keep and turns gray."""
    value = view.max(axis=2, keepdims=True).astype(np.float64)  # [H, W, 1]
    raised = np.minimum(value + 255 * added, 255)
    return _levels(np.where(value > 0, view * (raised / np.maximum(value, 1)), raised))


def _contrast(view: Image, kept: float, draw: Draw) -> Image:
    mean = view.mean(axis=(0, 1))  # [3]
    return _levels((view - mean) * kept + mean)


def _pixelate(view: Image, share: float, draw: Draw) -> Image:
    height, width = view.shape[:2]
    small = max(int(width * share), 1), max(int(height * share), 1)
    coarse = cv2.resize(view, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


def _jpeg(view: Image, quality: int, draw: Draw) -> Image:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(view, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def _levels(pixels: NDArray[Any]) -> Image:
    return np.clip(pixels, 0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _poisson_bounds(photons: float) -> tuple[NDArray[np.float64], int]:
    """Level + cumulative Poisson probability for counts 0, 1, ... of all 256 levels in turn, and counts per level.

    One searchsorted of level + u then inverts the distribution of every pixel.
    """
    width = int(photons + 10 * photons**0.5 + 10)
    count = np.arange(width)
    mean = photons * np.arange(256)[:, None] / 255  # [256, 1]
    log_factorial = np.concatenate([[0.0], np.log(count[1:]).cumsum()])  # [width]
    share = np.exp(count * np.log(np.maximum(mean, 1e-300)) - mean - log_factorial)  # [256, width]
    return (np.arange(256)[:, None] + np.minimum(share.cumsum(axis=1), 1)).ravel(), width


_CORRUPTIONS: dict[Kind, Callable[[Image, Any, Draw], Image]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "motion_blur": _motion_blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
    "gaussian_blur": _gaussian_blur,
}
