import pytest
import torch
from torch import nn

from ssl_core.methods.byol import BYOL
from ssl_core.types import Batch, Progress
from tests.support.tiny import tiny_batch, tiny_method


def _byol() -> BYOL:
    method = tiny_method("byol")
    assert isinstance(method, BYOL)
    return method


@pytest.mark.parametrize(("step", "moved"), [(1, 0.1), (6, 0.05)])  # momentum 0.9 at first, halfway to 1 at half time
def test_target_follows_ever_more_slowly(step: int, moved: float) -> None:
    method = _byol()
    with torch.no_grad():
        for part in (method.encoder, method.projector):
            for p in part.parameters():
                p.add_(1.0)
    target = [*method.target_encoder.parameters(), *method.target_projector.parameters()]
    before = [p.clone() for p in target]
    method.after_step(Progress(step, 10))
    for p, old in zip(target, before, strict=True):
        torch.testing.assert_close(p, old + moved)


def test_target_has_no_gradient_and_the_encoder_is_exported() -> None:
    method = _byol()
    method(tiny_batch(method), Progress(0, 10)).loss.backward()
    assert not any("target" in name for name, p in method.named_parameters() if p.requires_grad or p.grad is not None)
    assert method.exported is method.encoder


def test_target_normalizes_by_the_batch_and_keeps_averages_of_its_own() -> None:
    method = _byol()
    method.predictor = nn.Sequential()  # the same weights on the same view: equal, if normalized alike
    view = tiny_batch(method).views[0]
    loss = method(Batch((view, view), torch.arange(len(view))), Progress(0, 10)).loss
    torch.testing.assert_close(loss, torch.tensor(0.0), rtol=0, atol=1e-5)
    averages = {name: buffer.clone() for name, buffer in method.target_encoder.named_buffers()}
    assert any("running_mean" in name and buffer.abs().sum() > 0 for name, buffer in averages.items())
    method.after_step(Progress(1, 10))
    assert all(torch.equal(buffer, averages[name]) for name, buffer in method.target_encoder.named_buffers())


def test_loss_of_opposite_predictions_is_eight() -> None:
    method = _byol()
    method.predictor = nn.Linear(16, 16, bias=False)
    with torch.no_grad():
        method.predictor.weight.copy_(-torch.eye(16))
    view = tiny_batch(method).views[0]
    loss = method(Batch((view, view), torch.arange(len(view))), Progress(0, 10)).loss
    torch.testing.assert_close(loss, torch.tensor(8.0))  # 4 each way
