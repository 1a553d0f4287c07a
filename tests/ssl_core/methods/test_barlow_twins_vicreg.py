"""What the two methods make of their losses, which are tested on their own."""

import copy

import pytest
import torch

from ssl_core.losses.joint_embedding import barlow_twins
from ssl_core.methods.barlow_twins import BarlowTwins
from ssl_core.methods.vicreg import VICReg
from ssl_core.types import Batch, Progress
from tests.support.tiny import tiny_batch, tiny_encoder


def _outputs(method: BarlowTwins | VICReg, batch: Batch) -> list[torch.Tensor]:
    method = copy.deepcopy(method)  # BatchNorm counts
    return [method.projector(method.encoder(view).pooled) for view in batch.views]


def test_barlow_twins_scales_its_loss() -> None:
    torch.manual_seed(0)
    method = BarlowTwins(BarlowTwins.Config(projection_dim=16, off_diagonal=0.02, scale=0.5), tiny_encoder())
    batch = tiny_batch(method)
    want = 0.5 * barlow_twins(*_outputs(method, batch), off_diagonal=0.02)
    torch.testing.assert_close(method(batch, Progress(0, 10)).loss, want)


def test_vicreg_weighs_and_logs_its_terms() -> None:
    torch.manual_seed(0)
    method = VICReg(VICReg.Config(projection_dim=16, invariance=2, variance=3, covariance=5), tiny_encoder())
    out = method(tiny_batch(method), Progress(0, 10))
    terms = {name: float(term) for name, term in out.metrics.items()}
    assert list(terms) == ["invariance", "variance", "covariance"] and all(term > 0 for term in terms.values())
    weighted = 2 * terms["invariance"] + 3 * terms["variance"] + 5 * terms["covariance"]
    assert out.loss.item() == pytest.approx(weighted, rel=1e-5)


@pytest.mark.parametrize("component", [BarlowTwins, VICReg])
def test_an_offset_of_the_output_would_change_nothing(component: type[BarlowTwins | VICReg]) -> None:
    """Which is why the last layer has no bias."""
    torch.manual_seed(0)
    method = component(component.Config(projection_dim=16), tiny_encoder())
    batch = tiny_batch(method)
    before = copy.deepcopy(method)(batch, Progress(0, 10)).loss
    assert method.projector[-1].bias is None
    method.projector[-1].bias = torch.nn.Parameter(torch.randn(16))
    torch.testing.assert_close(method(batch, Progress(0, 10)).loss, before, rtol=1e-4, atol=1e-4)
