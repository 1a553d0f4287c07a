import torch
from torch import Tensor, nn

from ssl_core.methods.simsiam import SimSiam
from ssl_core.optimize.optimizers import OptimConfig, build_optimizer, set_lr_
from ssl_core.types import Progress
from tests.support.tiny import tiny_batch, tiny_method


def _simsiam() -> SimSiam:
    method = tiny_method("simsiam")
    assert isinstance(method, SimSiam)
    return method


class _NoGradient(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def test_targets_get_no_gradient() -> None:
    method = _simsiam()
    method.predictor = _NoGradient()  # type: ignore[assignment]  # the only other way to the encoder
    assert not method(tiny_batch(method), Progress(0, 10)).loss.requires_grad


def test_loss_is_between_minus_one_and_one_and_minus_one_for_equal_views() -> None:
    method = _simsiam()
    batch = tiny_batch(method)
    assert -1 < method(batch, Progress(0, 10)).loss.item() < 1
    method.predictor = nn.Sequential()
    same = type(batch)((batch.views[0], batch.views[0]), batch.sample_id)
    torch.testing.assert_close(method(same, Progress(0, 10)).loss, torch.tensor(-1.0))


def test_learning_rate_of_the_predictor_stays_while_the_others_follow_the_schedule() -> None:
    method = _simsiam()
    optimizer = build_optimizer(OptimConfig(name="sgd"), method, peak_lr=0.1)
    set_lr_(optimizer, 0.02)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[p] for p in method.predictor.parameters()} == {0.1}
    assert {rates[p] for part in (method.encoder, method.projector) for p in part.parameters()} == {0.02}


def test_projections_are_standardized_without_scale_and_offset() -> None:
    method = _simsiam()
    z = method.projector(method.encoder(tiny_batch(method).views[0]).pooled)
    torch.testing.assert_close(z.mean(0), torch.zeros(16), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(16), rtol=0.01, atol=0)
    assert not list(method.projector[-1].parameters())


def test_spread_tells_a_collapse() -> None:
    method = _simsiam()
    batch = tiny_batch(method)
    assert 0.5 < float(method(batch, Progress(0, 10)).metrics["spread"]) < 1.2
    method.projector = nn.Sequential(method.projector, nn.Linear(16, 16))
    with torch.no_grad():
        method.projector[1].weight.zero_()
    assert float(method(batch, Progress(0, 10)).metrics["spread"]) < 1e-5
