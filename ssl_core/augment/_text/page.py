"""A text as a small picture, for the pages of a report that show samples side by side."""

from textwrap import wrap

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs._image.opencv import cv2

WIDTH, HEIGHT = 192, 96
"""Pixels."""
_COLUMNS, _ROWS, _STEP, _SCALE = 25, 7, 13, 0.42


def page(text: str) -> NDArray[np.uint8]:
    """RGB [HEIGHT, WIDTH, 3]: the first lines; OpenCV draws ASCII, so other letters are shown as `?`."""
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    plain = " ".join(text.split()).encode("ascii", "replace").decode()
    for row, line in enumerate(wrap(plain, _COLUMNS)[:_ROWS]):
        place = (3, _STEP * (row + 1) - 2)
        cv2.putText(canvas, line, place, cv2.FONT_HERSHEY_SIMPLEX, _SCALE, (30, 30, 30), 1, cv2.LINE_AA)
    return canvas
