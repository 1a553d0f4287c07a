"""Snow, frost, fog and light (Hendrycks & Dietterich 2019, see _corruptions.py)."""

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._image.corruption_base import Draw, levels, normal
from ssl_core.augment._image.corruption_blur import streaked, zoomed
from ssl_core.codecs._image.opencv import cv2
from ssl_core.codecs._image.resize import Image

_NEEDLES = 6
"""Directions in which ice grows."""


def snow(view: Image, setting: tuple[float, float, float, float, int, float, float], draw: Draw) -> Image:
    """A whiter view under flakes that fall at -135 to -45 degrees, and the same flakes turned by half a circle."""
    mean, deviation, zoom, least, radius, sigma, kept = setting
    shape = view.shape[:2]
    pixels = view.size // 3
    turn, uniform = np.split(draw(1 + pixels + pixels % 2), [1])
    flakes = zoomed((mean + deviation * normal(uniform)[:pixels].reshape(shape)).astype(np.float32), zoom)  # [H, W]
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1)
    fallen = streaked(flakes, radius, sigma, -np.pi / 2 * (0.5 + turn[0]))[..., None]  # [H, W, 1]
    x = view.astype(np.float32) / 255
    gray = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]  # [H, W, 1]
    x = kept * x + (1 - kept) * np.maximum(x, 1.5 * gray + 0.5)
    return levels(255 * (x + fallen + np.rot90(fallen, 2)))


def frost(view: Image, setting: tuple[float, float], draw: Draw) -> Image:
    """Ice over the view in the published proportions.

    The ice itself is NOT that of the published sets, which cut it out of six photographs: here it is drawn.
    """
    kept, added = setting
    return levels(kept * view + added * _ice(view.shape[0], view.shape[1], draw))


def fog(view: Image, setting: tuple[float, float], draw: Draw) -> Image:
    thickness, decay = setting
    height, width = view.shape[:2]
    side = _map_side(height, width)
    cloud = 255 * thickness * plasma(draw(side * side - 1), side, decay)[:height, :width, None]
    brightest = float(view.max())
    return levels((view + cloud) * brightest / (brightest + 255 * thickness))


def brightness(view: Image, added: float, draw: Draw) -> Image:
    """Raising the value of HSV scales all three channels alike; black has no color to keep and turns gray."""
    value = view.max(axis=2, keepdims=True).astype(np.float64)  # [H, W, 1]
    raised = np.minimum(value + 255 * added, 255)
    return levels(np.where(value > 0, view * (raised / np.maximum(value, 1)), raised))


def plasma(uniform: NDArray[np.float64], side: int, decay: float) -> NDArray[np.float64]:
    """A map of heights from 0 to 1 by the diamond-square algorithm on a torus.

    Args:
        uniform: [side * side - 1] draws.
        side: a power of two.
        decay: what the jitter is divided by from one scale to the next; as published, it acts squared.
    Returns: [side, side].
    """
    height = np.zeros((side, side))
    step, jitter = side, 100.0
    while step >= 2:
        half, count = step // 2, side // step
        square, down, right = jitter**2 * (2 * uniform[count**2 - 1 : 4 * count**2 - 1].reshape(3, count, count) - 1)
        corner = height[::step, ::step]  # [count, count]
        beside = corner + np.roll(corner, -1, axis=0)
        middle = (beside + np.roll(beside, -1, axis=1)) / 4 + square
        height[half::step, half::step] = middle
        height[::step, half::step] = (
            middle + np.roll(middle, 1, axis=0) + corner + np.roll(corner, -1, axis=1)
        ) / 4 + right
        height[half::step, ::step] = (
            middle + np.roll(middle, 1, axis=1) + corner + np.roll(corner, -1, axis=0)
        ) / 4 + down
        step, jitter = half, jitter / decay
    height -= height.min()
    return np.asarray(height / height.max())


def _map_side(height: int, width: int) -> int:
    """The least power of two that covers the view: 32 for CIFAR, 256 for ImageNet, as published."""
    return max(2, 1 << (max(height, width) - 1).bit_length())


def _ice(height: int, width: int, draw: Draw) -> NDArray[np.float32]:
    """Needles that grow from scattered seeds along six directions, as ice does, over rime: [H, W, 3] in 0 to 255."""
    side, pixels, radius = _map_side(height, width), height * width, max(2, max(height, width) // 16)
    turn, seeds, rest = np.split(draw(1 + _NEEDLES * pixels + side * side - 1), [1, 1 + _NEEDLES * pixels])
    ice = 0.6 * plasma(rest, side, 1.7)[:height, :width].astype(np.float32)  # [H, W]
    for needle, seed in enumerate(seeds.reshape(_NEEDLES, height, width)):
        angle = 2 * np.pi * (turn[0] + needle / _NEEDLES)
        grown = streaked((seed < 0.04 / radius).astype(np.float32), radius, radius, angle)
        ice += 0.5 * np.minimum(grown * radius, 1)
    return 255 * np.minimum(ice, 1)[..., None] * np.array([0.82, 0.92, 1.0], np.float32)
