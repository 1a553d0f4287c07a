"""Losses on masked places against loops."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from ssl_core.losses.reconstruction import masked_l1, masked_smooth_l1, weighted_mse

B, N, P = 3, 6, 4


@pytest.fixture
def given() -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, targets, and a mask of two places in each sample."""
    draw = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, B, N, P, generator=draw, dtype=torch.float64)
    mask = torch.rand(B, N, generator=draw).argsort(1) < 2
    return predicted.requires_grad_(), target, mask


def test_masked_l1_is_the_mean_over_masked_patches(given: tuple[Tensor, Tensor, Tensor]) -> None:
    predicted, target, mask = given
    errors = [(predicted[i, j] - target[i, j]).abs().mean() for i in range(B) for j in range(N) if mask[i, j]]
    torch.testing.assert_close(masked_l1(predicted, target, mask), torch.stack(errors).mean().float())
    (grad,) = torch.autograd.grad(masked_l1(predicted, target, mask), predicted)
    assert (grad[~mask] == 0).all() and (grad[mask].abs() > 0).all()


def test_masked_smooth_l1_is_torchs_on_masked_patches(given: tuple[Tensor, Tensor, Tensor]) -> None:
    predicted, target, mask = given
    for beta in (0.5, 2.0):
        wanted = smooth_l1_loss(predicted[mask], target[mask], beta=beta)
        torch.testing.assert_close(masked_smooth_l1(predicted, target, mask, beta=beta), wanted.float())


def test_weighted_mse_counts_places_by_their_weights() -> None:
    predicted, target = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.zeros(2, 1, 4, 4)
    weight[:, :, 1, 1], weight[:, :, 2, 3] = 1, 10
    near, far = ((predicted[:, :, r, c] - target[:, :, r, c]).square().mean() for r, c in ((1, 1), (2, 3)))
    torch.testing.assert_close(weighted_mse(predicted, target, weight), (near + 10 * far) / 11)
