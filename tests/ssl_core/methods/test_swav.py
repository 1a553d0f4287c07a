import pytest
import torch

from ssl_core.methods.swav import SwAV
from ssl_core.types import Batch, Progress
from tests.support.tiny import image_spec, rows, tiny_batch, tiny_encoder, tiny_method

CONFIG = {"num_prototypes": 6, "hidden_dim": 32, "projection_dim": 16}


def _swav(**settings: object) -> SwAV:
    torch.manual_seed(0)
    return SwAV(SwAV.Config.model_validate(CONFIG | settings), tiny_encoder())


def _step(method: SwAV, batch: Batch, progress: Progress) -> float:
    method.zero_grad()
    loss = method(batch, progress).loss
    loss.backward()
    method.before_step(progress)
    with torch.no_grad():
        for p in method.parameters():
            if p.grad is not None:
                p.sub_(p.grad)
    method.after_step(Progress(progress.step + 1, progress.total))
    return float(loss.detach())


def test_prototypes_stand_still_at_first_and_are_unit_vectors_always() -> None:
    method = _swav(num_local=0, freeze_fraction=0.2)
    batch, start = tiny_batch(tiny_method("simclr")), method.prototypes.detach().clone()
    moved = []
    for step in range(4):
        _step(method, batch, Progress(step, 10))
        torch.testing.assert_close(method.prototypes.norm(dim=1), torch.ones(6))
        moved.append(float((method.prototypes - start).detach().norm()))
    assert max(moved[:2]) < 1e-6 and moved[2] > 1e-3


def test_the_queue_takes_part_once_it_is_full_and_it_is_time() -> None:
    def loss_of(step: int, batches: int, **settings: object) -> float:
        method = _swav(num_local=0, **settings)
        with torch.no_grad():
            for _ in range(batches):
                method(tiny_batch(tiny_method("simclr"), seed=9), Progress(0, 10))
                method.after_step(Progress(1, 10))
        return float(method(tiny_batch(tiny_method("simclr")), Progress(step, 10)).loss.detach())

    without = [loss_of(step=5, batches=n, queue_size=0) for n in range(3)]
    queued = [loss_of(step=5, batches=n, queue_size=16) for n in range(3)]
    assert queued[:2] == pytest.approx(without[:2], rel=1e-6) and abs(queued[2] - without[2]) > 1e-4
    early = loss_of(step=1, batches=2, queue_size=16)
    assert early == pytest.approx(without[2], rel=1e-6)


def test_the_queue_holds_both_large_views_in_the_order_of_the_batch() -> None:
    method = _swav(num_local=1, queue_size=8)
    batch = tiny_batch(tiny_method("swav"))
    method.encoder.eval()
    method.projector.eval()
    for half in (slice(0, 4), slice(4, 8)):  # two micro-batches of a step
        method(rows(batch, half), Progress(0, 10))
    method.after_step(Progress(1, 10))
    with torch.no_grad():
        for view, queued in zip(batch.views, method.queue.chunk(2, dim=1), strict=False):
            z = method.projector(method.encoder(view).pooled)
            torch.testing.assert_close(queued, z / z.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)


def test_small_crops_are_predicted_from_and_never_assigned() -> None:
    torch.manual_seed(0)
    method = SwAV(SwAV.Config.model_validate(CONFIG | {"num_local": 2}), tiny_encoder(spec=image_spec(3, 16, 16)))
    assert SwAV.kinds(SwAV.Config(num_local=2)) == ("global", "global", "local", "local")
    large = tuple(torch.randn(4, 3, 16, 16) for _ in range(2))
    small = tuple(torch.randn(4, 3, 8, 8, requires_grad=True) for _ in range(2))
    method(Batch((*large, *small), torch.arange(4)), Progress(0, 10)).loss.backward()
    assert all(view.grad is not None and view.grad.abs().sum() > 0 for view in small)
