"""Ridge regression of many outputs, its penalty chosen on the rows that come last.

Shapes: N rows, F features, O outputs.
"""

from collections.abc import Sequence
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


def fit_ridge(x: Tensor, outputs: Sequence[Tensor]) -> list[Ridge]:
    """Several regressions of one x: each chooses its penalty on the last rows by squared error, then fits all rows.

    Args:
        x: [N, F], two rows or more.
        outputs: [N, O] each.
    """
    first = len(x) - max(1, round(HELD_OUT * len(x)))
    begun, whole = _Path(x[:first]), _Path(x)
    found = []
    for y in outputs:
        tried = [begun.fit(y[:first], penalty) for penalty in PENALTIES]
        errors = [float((ridge(x[first:]) - y[first:].double()).square().mean()) for ridge in tried]
        found.append(whole.fit(y, PENALTIES[min(range(len(errors)), key=errors.__getitem__)]))
    return found


class _Path:
    """One eigendecomposition of x [N, F], the dear part, for all outputs and penalties."""

    def __init__(self, x: Tensor):
        self.mean = x.double().mean(0)
        self.centered = x.double() - self.mean
        if len(x) < x.shape[1]:  # the covariance has no more directions than there are rows
            _, singular, transposed = torch.linalg.svd(self.centered / len(x) ** 0.5, full_matrices=False)
            self.values, self.vectors = singular.square(), transposed.T  # [N], [F, N]
        else:
            values, self.vectors = torch.linalg.eigh(self.centered.T @ self.centered / len(x))  # [F], [F, F]
            self.values = values.clamp_min(0)
        self.scale = (self.values.sum() / x.shape[1]).clamp_min(torch.finfo(torch.float64).tiny)

    def fit(self, y: Tensor, penalty: float) -> Ridge:
        output_mean = y.double().mean(0)
        projected = self.vectors.T @ (self.centered.T @ (y.double() - output_mean)) / len(y)  # [F, O]
        shrunk = projected / (self.values + penalty * self.scale)[:, None]
        return Ridge(self.vectors @ shrunk, self.mean, output_mean, penalty)
