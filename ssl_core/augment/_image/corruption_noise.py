"""Noise of the sensor: Gaussian, photon counts, dead pixels (Hendrycks & Dietterich 2019, see _corruptions.py)."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._image.corruption_base import Draw, levels, normal
from ssl_core.codecs._image.resize import Image


def gaussian_noise(view: Image, deviation: float, draw: Draw) -> Image:
    noise = normal(draw(view.size + view.size % 2))[: view.size]
    return levels(view + 255 * deviation * noise.reshape(view.shape))


def shot_noise(view: Image, photons: float, draw: Draw) -> Image:
    bounds, width = poisson_bounds(photons)
    count = np.searchsorted(bounds, view.ravel() + draw(view.size), side="right") - width * view.ravel().astype(int)
    return levels(255 / photons * np.minimum(count, width - 1).reshape(view.shape))


def impulse_noise(view: Image, share: float, draw: Draw) -> Image:
    u = draw(view.size).reshape(view.shape)
    return np.where(u < share / 2, 0, np.where(u >= 1 - share / 2, 255, view)).astype(np.uint8)


@lru_cache(maxsize=16)
def poisson_bounds(photons: float) -> tuple[NDArray[np.float64], int]:
    """Level + cumulative Poisson probability for counts 0, 1, ... of all 256 levels in turn, and counts per level.

    One searchsorted of level + u then inverts the distribution of every pixel.
    """
    width = int(photons + 10 * photons**0.5 + 10)
    count = np.arange(width)
    mean = photons * np.arange(256)[:, None] / 255  # [256, 1]
    log_factorial = np.concatenate([[0.0], np.log(count[1:]).cumsum()])  # [width]
    share = np.exp(count * np.log(np.maximum(mean, 1e-300)) - mean - log_factorial)  # [256, width]
    return (np.arange(256)[:, None] + np.minimum(share.cumsum(axis=1), 1)).ravel(), width
