"""Label-free health against closed forms and naive loops."""

import math
from collections.abc import Callable

import pytest
import torch

from ssl_core.measures.health import alpha_req, lidar, norm_outliers, spectrum


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_energies(energy: torch.Tensor, rows: int = 400) -> torch.Tensor:
    """[rows, D] centered features whose covariance has exactly these eigenvalues, in a rotated frame."""
    width = len(energy)
    left = random(rows, width).double()
    left = torch.linalg.qr(left - left.mean(dim=0)).Q  # orthonormal columns, each of mean 0
    rotation = torch.linalg.qr(random(width, width, seed=1).double()).Q
    return (left * (rows * energy).sqrt() @ rotation.mT).float()


def test_spectrum_is_that_of_the_centered_features_however_they_lie():
    z = random(60, 7) + 100.0
    want = torch.linalg.svdvals((z - z.mean(dim=0)).double())
    torch.testing.assert_close(spectrum(z), (want / want.sum()).float(), rtol=1e-4, atol=1e-6)
    assert spectrum(random(5, 20)).shape == (5,)
    assert float(spectrum(random(5, 20))[-1]) == pytest.approx(0, abs=1e-6)  # centering takes one direction
    assert spectrum(torch.ones(9, 4)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
def test_alpha_req_finds_the_exponent_of_a_power_law(alpha: float):
    z = with_energies(torch.arange(1, 61).double() ** -alpha)
    assert float(alpha_req(z)) == pytest.approx(alpha, abs=1e-3)
    assert float(alpha_req(1000 * z + 5)) == pytest.approx(alpha, abs=1e-2)


def test_alpha_req_weighs_ranks_as_the_reference_does():
    energy = torch.rand(50, generator=torch.Generator().manual_seed(3)).double().sort(descending=True).values + 0.01
    rank = torch.arange(4, 21).double()
    design = torch.stack([-rank.log(), torch.ones(17).double()], dim=1)
    weighted = design / rank[:, None]
    want = torch.linalg.solve(design.mT @ weighted, weighted.mT @ energy[3:20].log())[0]
    assert float(alpha_req(with_energies(energy), last=20)) == pytest.approx(float(want), abs=1e-3)


def test_alpha_req_of_a_spectrum_that_ends_before_the_fit_is_infinite():
    assert math.isinf(float(alpha_req(random(50, 1) * random(1, 8))))
    assert math.isinf(float(alpha_req(random(50, 3))))


def naive_lidar(z: torch.Tensor) -> float:
    """Equations 1-4 by loops over samples and views."""
    wide, width = z.double(), z.shape[2]
    mean = wide.mean(dim=(0, 1))
    between, within = torch.zeros(2, width, width).double()
    for sample in wide:
        middle = sample.mean(dim=0)
        between += torch.outer(middle - mean, middle - mean) / len(wide)
        for view in sample:
            within += torch.outer(view - middle, view - middle) / (len(wide) * len(sample))
    energy, axes = torch.linalg.eigh(within + 1e-4 * torch.eye(width))
    root = axes @ torch.diag(energy.rsqrt()) @ axes.mT
    p = torch.linalg.eigvalsh(root @ between @ root)
    p = p / p.abs().sum() + 1e-7
    return float((-(p * p.log()).sum()).exp())


def test_lidar_equals_the_paper_by_loops():
    z = random(40, 1, 6) * torch.tensor([5.0, 3, 2, 1, 0.5, 0.1]) + 0.7 * random(40, 5, 6, seed=1)
    assert float(lidar(z)) == pytest.approx(naive_lidar(z), rel=1e-5)


def test_lidar_counts_the_directions_in_which_samples_differ():
    basis = torch.zeros(32, 16)
    basis[torch.arange(32), torch.arange(32) % 4] = (torch.arange(32) // 4 % 2 * 2 - 1).float()  # 4 of 16 dimensions
    assert float(lidar(basis[:, None] + 0.01 * random(32, 10, 16))) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("shape", [(10, 8), (1, 4, 8), (10, 1, 8)])
def test_lidar_says_what_it_needs(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="two views"):
        lidar(torch.zeros(shape))


def test_norm_outliers_are_found_on_both_sides_and_rounding_is_none():
    z = torch.nn.functional.normalize(random(200, 8), dim=1) * (10 + 0.1 * random(200, 1, seed=2))
    z[7] *= 3
    z[11] *= 0.01
    assert norm_outliers(z).nonzero().flatten().tolist() == [7, 11]
    assert not norm_outliers(torch.nn.functional.normalize(random(500, 64), dim=1)).any()


@pytest.mark.parametrize("measure", [spectrum, alpha_req, norm_outliers])
def test_empty_and_broken_features_are_refused(measure: Callable[[torch.Tensor], object]):
    with pytest.raises(ValueError, match="at least one sample"):
        measure(torch.zeros(0, 4))
    broken = random(6, 4)
    broken[2, 1] = torch.nan
    with pytest.raises(ValueError, match="1 of 6 rows"):
        measure(broken)
