"""Prediction of rows below: against a loop, and in shares."""

from math import log

import pytest
import torch
from torch import Tensor

from ssl_core.losses.cpc import rows_below


def _maps(count: int, seed: int) -> Tensor:
    return torch.randn(count, 4, 3, 5, generator=torch.Generator().manual_seed(seed))


def _loop(predicted: Tensor, candidates: Tensor, ahead: int) -> Tensor:
    every = [candidates[b, r, c] for b in range(len(candidates)) for r in range(4) for c in range(3)]
    terms = []
    for b in range(len(predicted)):
        for r in range(4 - ahead):
            for c in range(3):
                products = torch.stack([predicted[b, r, c] @ z for z in every])
                positive = predicted[b, r, c] @ candidates[b, r + ahead, c]
                terms.append(products.exp().sum().log() - positive)
    return torch.stack(terms).mean()


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_is_infonce_with_the_patch_below_as_positive(ahead: int) -> None:
    results = []
    for loss_of in (lambda p, z: rows_below(p, z, ahead=ahead, first=0), lambda p, z: _loop(p, z, ahead)):
        predicted, candidates = _maps(2, 0).requires_grad_(), _maps(2, 1).requires_grad_()
        loss = loss_of(predicted, candidates)
        results.append([loss.detach(), *torch.autograd.grad(loss, [predicted, candidates])])
    torch.testing.assert_close(results[0], results[1])
    assert not results[0][1][:, 4 - ahead :].any()  # nothing lies below the last rows


def test_of_no_information_in_closed_form() -> None:
    assert float(rows_below(torch.zeros(2, 4, 3, 5), _maps(2, 1), ahead=1, first=0)) == pytest.approx(log(24))


def test_of_shares_averages_to_the_whole() -> None:
    predicted, candidates = _maps(6, 0), _maps(6, 1)
    parts = [rows_below(predicted[i : i + 2], candidates, ahead=2, first=i) for i in range(0, 6, 2)]
    torch.testing.assert_close(torch.stack(parts).mean(), rows_below(predicted, candidates, ahead=2, first=0))
