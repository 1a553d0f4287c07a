"""Reconstruction losses. Pure functions of tensors.

Shapes: B samples, M patches of P values.
"""

from typing import NamedTuple

from torch import Tensor


class Standardized(NamedTuple):
    values: Tensor  # [B, M, P] zero mean and unit variance over P
    mean: Tensor  # [B, M, 1]
    std: Tensor  # [B, M, 1]


def standardize(patches: Tensor) -> Standardized:
    """Scale each patch [B, M, P] to zero mean and unit variance over its own P values (MAE, section 3).

    A flat patch has no variance; 1e-6 under the root keeps it at zero instead of dividing by zero.
    """
    patches = patches.float()
    mean, std = patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    return Standardized((patches - mean) / std, mean, std)


def patch_mse(predicted: Tensor, target: Tensor, *, standardized: bool) -> Tensor:
    """Mean squared error on hidden patches (MAE, section 3).

    Args:
        predicted, target: [B, M, P].
        standardized: compare with `standardize(target).values` instead of raw values.
    Returns: [] float32 mean over everything.
    """
    return mse(predicted, standardize(target).values if standardized else target)


def mse(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over all values of two tensors of one shape; [] float32.

    Raises:
        ValueError: the shapes differ (broadcasting would hide it).
    """
    if predicted.shape != target.shape:
        raise ValueError(f"cannot compare {tuple(predicted.shape)} with {tuple(target.shape)}")
    return (predicted.float() - target.float()).square().mean()
