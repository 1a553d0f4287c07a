"""How far a decoder may shrink an image before it is cropped.

JPEG decoders give 1/2, 1/4 and 1/8 of the size for less work (`decode(..., reduction=)`).

Shapes: B samples.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Boxes = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Heights and widths of the images, [B, 2] -> top, left, height, width of what is cut out of each, [B, 4]."""

REDUCTIONS = (2, 4, 8)
"""Factors that JPEG decoders offer, beside 1. A side of n pixels becomes ceil(n / factor), as libjpeg has it."""

# In reduced pixels. Corner and side are each rounded in both images and the sides themselves rounded up; beyond that
# the draws chose another box (another of the ten tries fits), and the view would be another one.
_SAME_BOX = 2


def largest_reduction(shapes: NDArray[np.int64], boxes: Boxes, size: int) -> NDArray[np.int64]:
    """The largest factor that costs a view no pixels.

    Args:
        shapes: [B, 2] heights and widths.
        boxes: what is cut out of images of given shapes, by one and the same draws.
        size: side of the view.
    Returns: [B] of 1, 2, 4, 8. At this factor and each smaller one the box of the reduced image is the box of the whole
        image, within two of the reduced pixels, and no smaller than the view.
    """
    reduction = np.ones(len(shapes), np.int64)
    if not (shapes.min(axis=1) > size).any():
        return reduction  # nothing shrinks at all, so the boxes need not be drawn
    whole, holds = boxes(shapes), np.ones(len(shapes), bool)
    for factor in REDUCTIONS:
        reduced = boxes(-(-shapes // factor))  # [B, 4]
        holds &= (np.abs(reduced - whole / factor) <= _SAME_BOX).all(axis=1)
        holds &= reduced[:, 2:].min(axis=1) >= size
        reduction[holds] = factor
    return reduction
