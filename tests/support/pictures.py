"""Pictures made on the spot: detail at every scale, like a photograph, and the same on every machine."""

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs._image.opencv import cv2


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """[H, W, 3] uint8: colored noise of 2, 4, 8, ... cells a side, finer cells weaker."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 127.5, np.float32)  # [H, W, 3]
    cells, strength = 2, 60.0
    while cells <= max(height, width):
        noise = rng.standard_normal((cells, cells, 3), np.float32)
        total += strength * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        cells, strength = cells * 2, strength * 0.6
    return np.clip(total, 0, 255).astype(np.uint8)
