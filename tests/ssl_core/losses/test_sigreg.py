"""SIGReg: small for a Gaussian, large for what is none, and as its definition says."""

from math import exp, pi

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


OF_GAUSSIANS = (2 * pi) ** 0.5 * (1 - 3**-0.5)
"""N times E |phi_N - phi|^2 = 1 - exp(-t^2), under the window."""


def test_of_gaussians_its_mean_is_known() -> None:
    draw, direction = torch.Generator().manual_seed(0), torch.ones(1, 1)
    drawn = (torch.randn(50, 1, generator=draw) for _ in range(2000))
    found = torch.stack([epps_pulley(*characteristic(z, direction), count=50) for z in drawn])
    error = float(found.std()) / len(found) ** 0.5
    assert float(found.mean()) == pytest.approx(OF_GAUSSIANS, abs=4 * error)


def test_whatever_is_no_standard_gaussian_has_more() -> None:
    """Signs the least: their projections are sums of eight, and nearly Gaussian."""
    gaussian = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    for other in (gaussian * 2, gaussian + 1, torch.zeros(2000, 8), gaussian[:, :1].expand(-1, 8)):
        assert statistic(other) > 20 * OF_GAUSSIANS
    assert statistic(gaussian.sign()) > 4 * OF_GAUSSIANS > 2 * statistic(gaussian)


@pytest.mark.peers
def test_the_statistic_and_its_gradient_are_lightlys() -> None:
    """LightlySSL integrates from 0 on and doubles, by default to 3: as many points to 5 are ours."""
    theirs = pytest.importorskip("lightly.loss").SIGReg(knots=POINTS // 2 + 1, t_max=LARGEST, num_vectors=16)
    z = torch.randn(32, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.manual_seed(3)
    wanted = theirs(z)
    torch.manual_seed(3)
    directions = normalize(torch.randn(6, 16), dim=0)  # drawn as it does
    found = epps_pulley(*characteristic(z, directions), count=len(z)).mean()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    ours, other = (torch.autograd.grad(x, z)[0] for x in (found, wanted))
    torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-6)


def test_it_pulls_collapsed_features_apart() -> None:
    z = 0.01 * torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    z.requires_grad_()
    directions = torch.eye(4)
    for _ in range(200):
        (grad,) = torch.autograd.grad(epps_pulley(*characteristic(z, directions), count=len(z)).sum(), z)
        with torch.no_grad():
            z -= 0.5 * grad
    assert 0.8 < float(z.detach().std()) < 1.2
