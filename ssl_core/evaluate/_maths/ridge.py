"""Ridge regression of many outputs, its penalty chosen on the rows that come last.

Shapes: N rows, F features, O outputs.
"""

from typing import NamedTuple

import torch
from torch import Tensor

PENALTIES = tuple(10.0**power for power in range(-5, 3))
"""Relative to the mean eigenvalue of the features' covariance, so that their scale does not matter."""
HELD_OUT = 0.2
"""Share of the rows, the last ones, that choose the penalty."""


class Ridge(NamedTuple):
    weight: Tensor  # [F, O] float64
    feature_mean: Tensor  # [F]
    output_mean: Tensor  # [O]
    penalty: float

    def __call__(self, x: Tensor) -> Tensor:
        """[n, F] -> [n, O] float64."""
        return (x.double() - self.feature_mean) @ self.weight + self.output_mean


def fit_ridge(x: Tensor, y: Tensor) -> Ridge:
    """Choose the penalty on the last rows by squared error, then fit all rows with it.

    Args:
        x: [N, F].
        y: [N, O].
    """
    first = max(1, len(x) - max(1, round(HELD_OUT * len(x))))
    tried = _path(x[:first], y[:first], PENALTIES)
    errors = [float((ridge(x[first:]) - y[first:].double()).square().mean()) for ridge in tried]
    best = PENALTIES[min(range(len(errors)), key=errors.__getitem__)] if len(x) > 1 else PENALTIES[-1]
    return _path(x, y, (best,))[0]


def _path(x: Tensor, y: Tensor, penalties: tuple[float, ...]) -> list[Ridge]:
    """One eigendecomposition for all penalties."""
    feature_mean, output_mean = x.double().mean(0), y.double().mean(0)
    centered, wanted = x.double() - feature_mean, y.double() - output_mean
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(x))  # [F], [F, F]
    projected = vectors.T @ (centered.T @ wanted) / len(x)  # [F, O]
    scale = values.clamp_min(0).mean().clamp_min(torch.finfo(torch.float64).tiny)
    return [
        Ridge(vectors @ (projected / (values.clamp_min(0) + p * scale)[:, None]), feature_mean, output_mean, p)
        for p in penalties
    ]
