"""Spectrograms as pictures, without a plotting library.

Shapes: B samples, M mel bands, F frames.
"""

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs._image.opencv import cv2

HEIGHT, WIDTH = 64, 96
"""Pixels in reports."""
RANGE = 11.5
"""Natural logarithms of power from black to the loudest: 50 dB."""


def spectrograms(bands: NDArray[np.floating]) -> NDArray[np.uint8]:
    """[B, M, F] log-mel values -> RGB [B, HEIGHT, WIDTH, 3]: time to the right, low tones at the bottom."""
    made = np.empty((len(bands), HEIGHT, WIDTH, 3), np.uint8)
    for each, picture in zip(bands, made, strict=True):
        level = np.clip((each - each.max()) / RANGE + 1, 0, 1)[::-1]  # [M, F]
        gray = cv2.resize(np.rint(255 * level).astype(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        picture[:] = cv2.applyColorMap(gray, cv2.COLORMAP_VIRIDIS)[:, :, ::-1]
    return made
