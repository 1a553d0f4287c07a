"""Images that show nobody's data: what a registered version is checked by.

Shapes: H height, W width.
"""

import numpy as np
from numpy.typing import NDArray

from ssl_core.noise import keyed_bits, salt

_DRAWN = salt(0xE8A)
_BLOCKS = 6
"""Blocks of one color along the shorter side of a drawn image."""


def drawn_images(size: int, count: int) -> list[NDArray[np.uint8]]:
    """A gradient, and blocks of color in several shapes and sizes: `count` arrays [H, W, 3].

    Args:
        size: side of the encoder's view in pixels; most images are larger, so that they are cropped and resized.
    """
    ramp = np.linspace(0, 255, size).astype(np.uint8)  # [size]
    gradient = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(128)), axis=-1)  # [size, size, 3]
    half = max(1, size // 2)
    shapes = ((2 * size, 2 * size), (3 * half, 3 * size), (3 * size, 2 * size), (half, half))
    return [gradient, *(_blocks(index, *shapes[index % 4]) for index in range(count - 1))][:count]


def _blocks(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """[H, W, 3]: coarse, so that the file is small and no resize rounds it away."""
    block = max(1, min(height, width) // _BLOCKS)
    rows, columns = -(-height // block), -(-width // block)
    bits = keyed_bits(np.array([index]), np.arange(rows * columns * 3), _DRAWN)  # [1, rows * columns * 3]
    coarse = (bits & 255).astype(np.uint8).reshape(rows, columns, 3)
    return coarse.repeat(block, 0).repeat(block, 1)[:height, :width]
