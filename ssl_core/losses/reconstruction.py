"""Reconstruction losses. Pure functions of tensors.

Shapes: B samples, M patches of P values.
"""

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import smooth_l1_loss


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


def masked_l1(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error on masked patches (SimMIM), of which each sample has equally many.

    Args:
        predicted, target: [B, N, P].
        mask: [B, N] bool.
    Returns: [] float32 mean over the values of all masked patches.
    """
    error = (predicted.float() - target.float()).abs().mean(-1)  # [B, N]
    return (error * mask).sum() / mask.sum()


def weighted_mse(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error with a weight per place (context encoders), whose sums are equal in all samples.

    Args:
        predicted, target: [B, C, H, W].
        weight: [B, 1, H, W] float32.
    Returns: [] float32 mean over channels, and over places by their weights.
    """
    error = (predicted.float() - target.float()).square().mean(1, keepdim=True)  # [B, 1, H, W]
    return (error * weight).sum() / weight.sum()


def masked_smooth_l1(predicted: Tensor, target: Tensor, mask: Tensor, *, beta: float) -> Tensor:
    """Smooth L1 loss on masked patches (data2vec), of which each sample has equally many.

    Args:
        predicted, target: [B, N, D].
        mask: [B, N] bool.
        beta: where squares turn into absolute errors.
    Returns: [] float32 mean over the values of all masked patches.
    """
    error = smooth_l1_loss(predicted.float(), target.float(), reduction="none", beta=beta).mean(-1)  # [B, N]
    return (error * mask).sum() / mask.sum()
