"""Color operations one after the other, in place, on [H, W, 3] uint8: what torchvision does, up to rounding.

Every step clips to 0..255 and truncates to whole levels as torchvision's uint8 kernels do.
"""

import numpy as np

from ssl_core.codecs._image.opencv import cv2
from ssl_core.codecs._image.resize import Image

LUMA = (0.2989, 0.587, 0.114)
"""Weights of R, G, B in gray (ITU-R BT.601, as torchvision writes them)."""

# OpenCV rounds to the nearest level. Just under half a level less makes that a truncation, and keeps whole numbers.
_TRUNCATE = -0.499


def brightness_(view: Image, factor: float) -> None:
    """Multiply by `factor`."""
    cv2.addWeighted(view, factor, view, 0, _TRUNCATE, dst=view)


def contrast_(view: Image, factor: float) -> None:
    """Move away from (factor > 1) or towards (factor < 1) the mean gray of the image."""
    red, green, blue, _ = cv2.mean(view)
    gray = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    cv2.addWeighted(view, factor, view, 0, (1 - factor) * gray + _TRUNCATE, dst=view)


def saturation_(view: Image, factor: float) -> None:
    """Move away from (factor > 1) or towards (factor < 1) each pixel's own gray."""
    matrix = np.full((3, 4), _TRUNCATE, np.float32)
    matrix[:, :3] = factor * np.eye(3) + (1 - factor) * np.array(LUMA)
    cv2.transform(view, matrix, dst=view)


def hue_(view: Image, turns: float) -> None:
    """Rotate the hue of HSV by `turns` of the full circle, in steps of 1/256."""
    shift = round(turns * 256) % 256
    if shift:
        hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)  # [H, W, 3] with 256 hues, so that uint8 wraps as hues do
        hsv[..., 0] += np.uint8(shift)
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=view)


def gray_(view: Image) -> None:
    """Replace the three channels by gray."""
    cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB, dst=view)


JITTER = (brightness_, contrast_, saturation_, hue_)
"""The four operations of color jitter, in the order of ColorDraws.amount."""
