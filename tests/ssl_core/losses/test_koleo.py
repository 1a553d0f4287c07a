"""KoLeo: against a loop, in shares, at coinciding vectors, and beside lightly's."""

from math import log, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_core.losses.koleo import koleo


def _vectors(count: int, dim: int) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


def _loop(x: Tensor) -> Tensor:
    unit = [v / v.norm() for v in x]
    nearest = [min((a - b).norm() for j, b in enumerate(unit) if j != i) for i, a in enumerate(unit)]
    return -torch.stack([d.log() for d in nearest]).mean()


def test_is_the_log_distance_to_the_nearest_neighbor() -> None:
    x = _vectors(7, 4).requires_grad_()
    got, want = koleo(x, x, first=0), _loop(x)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (got, want)), rtol=1e-4, atol=1e-5)


def test_of_a_simplex_in_closed_form() -> None:
    assert float(koleo(torch.eye(5) * 3, torch.eye(5), first=0)) == pytest.approx(-log(sqrt(2)), rel=1e-6)


def test_of_shares_averages_to_the_whole() -> None:
    x = _vectors(8, 4)
    parts = [koleo(x[i : i + 2], x, first=i) for i in range(0, 8, 2)]
    torch.testing.assert_close(torch.stack(parts).mean(), koleo(x, x, first=0))


def test_of_equal_vectors_is_finite_with_its_gradient() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    loss = koleo(x, x, first=0)
    loss.backward()
    assert loss.isfinite() and x.grad is not None and x.grad.isfinite().all()


@pytest.mark.peers
def test_is_lightlys() -> None:
    theirs: Any = pytest.importorskip("lightly.loss").KoLeoLoss()
    x = _vectors(9, 5).requires_grad_()
    ours, reference = koleo(x, x, first=0), theirs(x)
    torch.testing.assert_close(ours, reference)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (ours, reference)), rtol=1e-4, atol=1e-6)
