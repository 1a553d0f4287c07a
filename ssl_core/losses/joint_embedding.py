"""Losses of two views without negatives: agreement, and what keeps it from being trivial. Pure functions.

Shapes: B samples on this worker, G samples on all workers, D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, cosine_similarity

from ssl_core.losses.reconstruction import mse


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Minus the cosine of two [B, D] tensors, row by row (SimSiam, eq. 1); [] float32 mean over the B rows.

    BYOL's squared distance of unit vectors (eq. 2) is 2 + 2 * negative_cosine.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        return -cosine_similarity(prediction.float(), target.float(), dim=-1).mean()


def barlow_twins(a: Tensor, b: Tensor, *, off_diagonal: float) -> Tensor:
    """Distance of the views' cross-correlation from the identity (Barlow Twins, eq. 1 and algorithm 1).

    Args:
        a, b: [G, D] two views of the global batch. Each column is standardized over the batch as by BatchNorm without
            scale and offset (biased variance, epsilon 1e-5), which is what the authors' code does.
        off_diagonal: lambda, weight of the redundancy between two columns.
    Returns: [] float32 sum over the D x D entries.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = (batch_norm(z.float(), None, None, training=True) for z in (a, b))
        correlation = a.T @ b / len(a)  # [D, D]
        error = (correlation - torch.eye(len(correlation), device=a.device)).square()
        return off_diagonal * error.sum() + (1 - off_diagonal) * error.trace()


class VICRegTerms(NamedTuple):
    invariance: Tensor  # [] float32, as are the others
    variance: Tensor
    covariance: Tensor


def vicreg(a: Tensor, b: Tensor, all_a: Tensor, all_b: Tensor) -> VICRegTerms:
    """The three terms of VICReg, not weighted (eq. 1 to 5), as the authors' code has them.

    Which is not quite as the paper has them: invariance is a mean over D where eq. 5 has a sum, and variance is the
    mean of the two views' where eq. 6 adds them. The published weights (25, 25, 1) belong to the code.

    Args:
        a, b: [B, D] two views of this worker's samples: invariance is theirs.
        all_a, all_b: [G, D] the same for the global batch: variance and covariance need all of it.
    """
    with torch.autocast(a.device.type, enabled=False):
        all_a, all_b = all_a.float(), all_b.float()
        variance = (_lack_of_variance(all_a) + _lack_of_variance(all_b)) / 2
        return VICRegTerms(mse(a, b), variance, _covariance(all_a) + _covariance(all_b))


def _lack_of_variance(z: Tensor) -> Tensor:
    """How far the standard deviations of [G, D] stay below 1, mean over D (eq. 1 and 2)."""
    # the epsilon is inside the root: at a collapsed column the root's own slope would be infinite
    return (1 - (z.var(0) + 1e-4).sqrt()).relu().mean()


def _covariance(z: Tensor) -> Tensor:
    """Squared covariances of different columns of [G, D], summed and divided by D (eq. 3 and 4)."""
    centered = z - z.mean(0)
    covariance = centered.T @ centered / (len(z) - 1)  # [D, D]
    # without its diagonal; subtracting the diagonal's squares from the sum would leave rounding errors of their size
    return (covariance - covariance.diag().diag()).square().sum() / z.shape[1]
