"""SIGReg: small for a Gaussian, large for what is none, and as its definition says."""

from math import exp

import pytest
import torch
from torch.nn.functional import normalize

from ssl_core.losses.sigreg import LARGEST, POINTS, characteristic, epps_pulley


def statistic(z: torch.Tensor) -> float:
    directions = normalize(torch.randn(z.shape[1], 32, generator=torch.Generator().manual_seed(9)), dim=0)
    return float(epps_pulley(*characteristic(z, directions), count=len(z)).mean())


def test_it_is_the_integral_over_the_characteristic_function() -> None:
    z, direction = torch.randn(11, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([[0.6], [0.8]])
    x = (z @ direction)[:, 0].tolist()
    step = 2 * LARGEST / (POINTS - 1)
    total = 0.0
    for k in range(POINTS):
        t = -LARGEST + k * step
        phi = sum(complex(exp(0) * torch.cos(torch.tensor(t * a)), torch.sin(torch.tensor(t * a))) for a in x) / len(x)
        total += (0.5 if k in (0, POINTS - 1) else 1.0) * step * abs(phi - exp(-t * t / 2)) ** 2 * exp(-t * t / 2)
    found = epps_pulley(*characteristic(z, direction), count=len(x))
    assert float(found[0]) == pytest.approx(len(x) * total, rel=1e-4)


def test_a_gaussian_has_the_least() -> None:
    draw = torch.Generator().manual_seed(0)
    gaussian = torch.randn(2000, 8, generator=draw)
    normal = statistic(gaussian)
    assert normal < 3
    for other in (gaussian * 2, gaussian + 1, torch.zeros(2000, 8), gaussian.sign(), gaussian[:, :1].expand(-1, 8)):
        assert statistic(other) > 10 * normal


def test_it_pulls_collapsed_features_apart() -> None:
    z = 0.01 * torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    z.requires_grad_()
    directions = torch.eye(4)
    for _ in range(200):
        (grad,) = torch.autograd.grad(epps_pulley(*characteristic(z, directions), count=len(z)).sum(), z)
        with torch.no_grad():
            z -= 0.5 * grad
    assert 0.8 < float(z.detach().std()) < 1.2
