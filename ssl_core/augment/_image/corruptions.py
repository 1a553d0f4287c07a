"""Common corruptions of images at five severities, each a pure function of pixels and keyed draws.

Hendrycks & Dietterich 2019 (https://arxiv.org/abs/1903.12261), after their code (github.com/hendrycks/robustness): the
settings are those of CIFAR-10-C for views of up to 64 pixels and of ImageNet-C above. All of their 15 kinds, with one
reservation (frost is drawn, not photographed: `_corruption_weather.frost`), and gaussian_blur of the four extra ones.
"""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._image import corruption_blur as blur
from ssl_core.augment._image import corruption_digital as digital
from ssl_core.augment._image import corruption_noise as noise
from ssl_core.augment._image import corruption_weather as weather
from ssl_core.augment._image.corruption_base import Corruption
from ssl_core.codecs._image.resize import Image
from ssl_core.noise import keyed_uniform, salt

Kind = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "motion_blur",
    "brightness", "contrast", "pixelate", "jpeg", "gaussian_blur",
    "glass_blur", "zoom_blur", "snow", "frost", "fog", "elastic",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
"""A kind's place keys its draws: more come at the end."""
COMMON: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "gaussian_blur")
"""The paper's 15."""


def _times(side: int, *settings: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(side * value for value in setting) for setting in settings)


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
    "glass_blur": (  # standard deviation of the blur, reach of a move, rounds of moves
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "zoom_blur": (  # largest enlargement (exclusive), step
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "snow": (  # mean, deviation, size and least height of flakes, radius and deviation of the fall, what is kept
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": (  # what is kept of the view, what is added of the ice
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ),
    "fog": (  # thickness, smoothness
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "elastic": (  # strength and smoothness of the bends, largest shift of a corner; pixels (their 244 for 224 stays)
        _times(32, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        _times(244, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
}  # fmt: skip
_CORRUPTIONS: dict[Kind, Corruption] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "motion_blur": blur.motion_blur,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "pixelate": digital.pixelate,
    "jpeg": digital.jpeg,
    "gaussian_blur": blur.gaussian_blur,
    "glass_blur": blur.glass_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "elastic": digital.elastic,
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
