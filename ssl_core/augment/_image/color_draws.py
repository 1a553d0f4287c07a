"""Random parameters of the color operations, for a whole batch at once.

Shapes: B samples; 4 operations: brightness, contrast, saturation, hue.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLOR_DRAWS = 13
"""Columns of uniform numbers that `color_draws` reads; a column keeps its meaning whatever the config says."""


@dataclass(frozen=True)
class ColorDraws:
    """What happens to the color of each sample."""

    jitters: NDArray[np.bool_]
    """[B] whether the sample is jittered."""
    amount: NDArray[np.float64]
    """[B, 4] factors of brightness, contrast and saturation; hue in turns of the color circle."""
    order: NDArray[np.int64]
    """[B, 4] which operation comes first, second, third, fourth."""
    grays: NDArray[np.bool_]
    """[B] whether the sample becomes gray, after the jitter."""
    blurs: NDArray[np.bool_]
    """[B] whether the sample is blurred, after the gray."""
    sigma: NDArray[np.float64]
    """[B] standard deviation of the blur in pixels."""
    solarizes: NDArray[np.bool_]
    """[B] whether the sample is solarized, last."""


def color_draws(
    draws: NDArray[np.float64],
    strengths: tuple[float, float, float, float],
    probabilities: tuple[float, float, float, float],
    sigma_range: tuple[float, float],
) -> ColorDraws:
    """Turn uniform numbers into parameters.

    Args:
        draws: [B, COLOR_DRAWS] in [0, 1).
        strengths: of brightness, contrast, saturation (factors span 1 - s to 1 + s, never below 0) and hue (turns).
        probabilities: of jitter, gray, blur, solarize.
        sigma_range: smallest and largest blur, pixels.
    """
    happens = draws[:, :4] < np.array(probabilities)  # [B, 4]
    reach = np.array(strengths)
    low = np.append(np.maximum(1 - reach[:3], 0), -reach[3])
    high = np.append(1 + reach[:3], reach[3])
    return ColorDraws(
        jitters=happens[:, 0],
        amount=low + draws[:, 4:8] * (high - low),  # [B, 4]
        order=np.argsort(draws[:, 8:12], axis=1),  # [B, 4] a uniform permutation
        grays=happens[:, 1],
        blurs=happens[:, 2],
        sigma=sigma_range[0] + draws[:, 12] * (sigma_range[1] - sigma_range[0]),
        solarizes=happens[:, 3],
    )
