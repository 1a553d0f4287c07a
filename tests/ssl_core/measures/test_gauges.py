"""Gauges against closed forms."""

import math
from collections.abc import Callable

import pytest
import torch

from ssl_core.measures.gauges import alignment, feature_std, rankme, uniformity


def random(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", [1, 4, 32])
def test_rankme_of_isotropic_data_is_its_width(width: int) -> None:
    z = torch.eye(width).repeat(3, 1) * 7  # every singular value equal
    assert float(rankme(z)) == pytest.approx(width, rel=1e-4)


def test_rankme_counts_equal_directions_and_ignores_scale_and_rotation() -> None:
    basis = torch.linalg.qr(random(16, 16)).Q[:5]  # 5 orthonormal directions in 16-D
    z = torch.eye(5).repeat(8, 1) @ basis
    assert float(rankme(z)) == pytest.approx(5, rel=1e-3)
    assert float(rankme(1000 * z)) == pytest.approx(float(rankme(z)), rel=1e-4)
    assert float(rankme(z.mT)) == pytest.approx(float(rankme(z)), rel=1e-3)  # wide or tall: the same spectrum


def test_rankme_of_rank_one_and_of_zero_is_one() -> None:
    assert float(rankme(random(50, 1) * random(1, 8))) == pytest.approx(1, abs=1e-3)
    assert float(rankme(torch.zeros(50, 8))) == pytest.approx(1, abs=1e-3)


def test_rankme_of_two_known_singular_values() -> None:
    p = torch.tensor([0.75, 0.25])
    want = math.exp(-sum(x * math.log(x) for x in p.tolist()))
    assert float(rankme(torch.diag(torch.tensor([3.0, 1.0])))) == pytest.approx(want, rel=1e-4)


def test_feature_std_is_zero_when_collapsed_and_one_when_spread() -> None:
    assert float(feature_std(torch.ones(64, 8) * torch.arange(1, 65)[:, None])) == pytest.approx(0, abs=1e-3)
    assert float(feature_std(random(20_000, 16))) == pytest.approx(1, abs=0.01)


def test_alignment_of_equal_opposite_and_orthogonal_views() -> None:
    z = random(32, 8)
    assert float(alignment(z, 3 * z)) == pytest.approx(0, abs=1e-6)
    assert float(alignment(z, -z)) == pytest.approx(4, abs=1e-5)
    assert float(alignment(torch.eye(4), torch.eye(4).roll(1, 0))) == pytest.approx(2, abs=1e-5)


def test_uniformity_of_known_sets() -> None:
    assert float(uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]]))) == pytest.approx(-8, abs=1e-5)  # |x-y|^2 = 4
    assert float(uniformity(torch.eye(6))) == pytest.approx(-4, abs=1e-5)  # |x-y|^2 = 2 for every pair
    assert float(uniformity(torch.ones(6, 3))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_uniformity_equals_pdist_for_every_block(block: int) -> None:
    z = random(33, 5)
    unit = torch.nn.functional.normalize(z, dim=1)
    want = torch.pdist(unit).square().mul(-2).exp().mean().log()
    torch.testing.assert_close(uniformity(z, block=block), want, rtol=1e-4, atol=1e-5)


def test_uniformity_of_one_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        uniformity(torch.ones(1, 3))


@pytest.mark.parametrize("gauge", [feature_std, rankme, uniformity])
def test_half_precision_is_measured_in_float32(gauge: Callable[[torch.Tensor], torch.Tensor]) -> None:
    z = random(64, 8).bfloat16()
    assert gauge(z).dtype == torch.float32
    torch.testing.assert_close(gauge(z), gauge(z.float()))
