"""A line plot of a few pixels, without a plotting library."""

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs._image.opencv import cv2

COLORS = (  # RGB, Okabe & Ito (2008): told apart by color-blind readers too
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0), (90, 90, 90), (0, 0, 0),
)  # fmt: skip
_SHIFT = 3  # OpenCV draws at eighths of a pixel


def line_plot(values: NDArray[np.floating], side: int) -> NDArray[np.uint8]:
    """[T, C] -> RGB [side, side, 3]: at most eight channels, each over its own range; gaps where values miss."""
    canvas = np.full((side, side, 3), 255, np.uint8)
    x = np.arange(len(values)) / max(len(values) - 1, 1) * (side - 1)  # [T]
    for channel, color in list(enumerate(COLORS))[: values.shape[1]]:
        column, y = _thinned(x, values[:, channel].astype(np.float64), side)
        known = ~np.isnan(y)
        if not known.any():
            continue
        low, high = y[known].min(), y[known].max()
        level = (y - low) / (high - low) if high > low else y * 0 + 0.5  # [T'] in 0..1
        points = np.stack([column, 1 + (1 - level) * (side - 3)], axis=1) * (1 << _SHIFT)  # [T', 2]
        for run in _runs(known):
            line = np.rint(points[run]).astype(np.int32)
            line = line.repeat(2, axis=0) if len(line) == 1 else line  # a lone value is a dot
            cv2.polylines(canvas, [line], False, color, 1, cv2.LINE_AA, _SHIFT)
    return canvas


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], side: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest value of each run of steps, where there are many more steps than pixels."""
    if len(y) <= 4 * side:
        return x, y
    first = np.linspace(0, len(y), 2 * side, endpoint=False).astype(np.int64)
    both = np.stack([np.fmin.reduceat(y, first), np.fmax.reduceat(y, first)], axis=1)
    return x[first].repeat(2), both.ravel()


def _runs(known: NDArray[np.bool_]) -> list[slice]:
    """The stretches without a gap."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    return [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
