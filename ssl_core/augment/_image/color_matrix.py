"""Color jitter and gray as one affine map per image: RGB -> M RGB + b, one pass over the pixels.

Every operation of color jitter is affine in RGB once hue turns around the gray axis instead of in HSV, so the four,
in each image's own random order, and gray compose to a single 3x4 matrix. Against the sequence it does not clip
between the steps. The turn keeps R + G + B and, like HSV, permutes the channels at a third of the circle; the more
usual turn in YIQ (NVIDIA DALI) does not, and on photographs is about twice as far from HSV.
"""

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._image.color import LUMA
from ssl_core.augment._image.color_draws import ColorDraws
from ssl_core.codecs._image.opencv import cv2

_TO_GRAY = np.tile(LUMA, (3, 1))
_CROSS_GRAY = np.array([(0, -1, 1), (1, 0, -1), (-1, 1, 0)]) / np.sqrt(3)  # cross product with the unit gray vector
_CONTRAST = 1  # position in ColorDraws.amount; the one operation that needs the image's mean


def recolor_(views: NDArray[np.uint8], draws: ColorDraws) -> None:
    """Jitter and gray a batch in place.

    Args:
        views: [B, H, W, 3] uint8.
        draws: parameters of the B samples.
    """
    means = np.zeros((len(views), 3))
    for row in np.flatnonzero(draws.jitters).tolist():
        means[row] = cv2.mean(views[row])[:3]
    matrices = color_matrices(draws, means)
    for row in np.flatnonzero(draws.jitters | draws.grays).tolist():
        cv2.transform(views[row], matrices[row], dst=views[row])


def color_matrices(draws: ColorDraws, means: NDArray[np.float64]) -> NDArray[np.float32]:
    """The affine map of each image.

    Args:
        draws: parameters of the B samples.
        means: [B, 3] mean of each channel before the jitter, 0..255.
    Returns: [B, 3, 4], the matrix and, in the last column, the offset in levels.
    """
    rows = np.arange(len(means))
    operations = _operations(draws.amount)
    matrix = np.broadcast_to(np.eye(3), (len(means), 3, 3))
    offset = np.zeros((len(means), 3))
    for operation in draws.order.T:  # [B] which operation is next for each image
        step = operations[rows, operation]  # [B, 3, 3]
        mean_gray = (_apply(matrix, means) + offset) @ LUMA  # [B] of the image as it is before this step
        pull = np.where(operation == _CONTRAST, 1 - draws.amount[:, _CONTRAST], 0) * mean_gray  # [B]
        matrix, offset = step @ matrix, _apply(step, offset) + pull[:, None]
    matrix = np.where(draws.jitters[:, None, None], matrix, np.eye(3))
    offset = np.where(draws.jitters[:, None], offset, 0)
    gray = np.where(draws.grays[:, None, None], _TO_GRAY, np.eye(3))  # [B, 3, 3]
    return np.concatenate([gray @ matrix, _apply(gray, offset)[:, :, None]], axis=2).astype(np.float32)  # [B, 3, 4]


def _operations(amount: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices of brightness, contrast, saturation and hue, [B, 4, 3, 3]; contrast also needs its offset."""
    scale = amount[:, :3, None, None] * np.eye(3)  # [B, 3, 3, 3]
    scale[:, 2] += (1 - amount[:, 2, None, None]) * _TO_GRAY
    angle = 2 * np.pi * amount[:, 3, None, None]  # [B, 1, 1]
    turn = np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) / 3 + np.sin(angle) * _CROSS_GRAY  # Rodrigues' formula
    return np.concatenate([scale, turn[:, None]], axis=1)


def _apply(matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """[B, 3, 3] and [B, 3] -> [B, 3]."""
    product: NDArray[np.float64] = (matrix @ vector[:, :, None])[:, :, 0]
    return product
