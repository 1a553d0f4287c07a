"""What corruptions share: keyed draws made normal, and pixels made whole levels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs._image.resize import Image

Draw = Callable[[int], NDArray[np.float64]]
"""How many -> so many uniform numbers in [0, 1), keyed by sample."""
Corruption = Callable[[Image, Any, Draw], Image]
"""View [H, W, 3], setting of the severity, draws -> corrupted view [H, W, 3]."""


def normal(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """An even number of uniform draws -> as many standard normal ones (Box & Muller 1958)."""
    first, second = uniform.reshape(2, -1)
    distance, angle = np.sqrt(-2 * np.log1p(-first)), 2 * np.pi * second
    return np.concatenate([distance * np.cos(angle), distance * np.sin(angle)])


def levels(pixels: NDArray[Any]) -> Image:
    """Clipped to 0 to 255 and cut to whole levels, as the published sets are."""
    return np.clip(pixels, 0, 255).astype(np.uint8)
