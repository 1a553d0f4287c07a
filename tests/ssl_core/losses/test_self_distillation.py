"""Cross entropies of self-distillation: against loops, and loss and gradient beside lightly's."""

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softmax

from ssl_core.losses.self_distillation import across_views, masked_patches
from ssl_core.nn.sinkhorn import sinkhorn


def _logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _across_views_loop(targets: Tensor, logits: Tensor, temperature: float) -> Tensor:
    terms = []
    for t, target in enumerate(targets):
        for v, view in enumerate(logits):
            if t != v:
                for p, z in zip(target, view, strict=True):
                    q = (z / temperature).exp() / (z / temperature).exp().sum()
                    terms.append(-(p * q.log()).sum())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("num_views", [2, 4])
def test_across_views_is_the_mean_over_pairs_of_different_views(num_views: int) -> None:
    targets = softmax(_logits(2, 3, 5), dim=-1)
    results = []
    for loss_of in (across_views, _across_views_loop):
        logits = _logits(num_views, 3, 5, seed=1).requires_grad_()
        loss = loss_of(targets, logits, temperature=0.3)  # type: ignore[operator]
        (grad,) = torch.autograd.grad(loss, logits)
        results.append((loss.detach(), grad))
    torch.testing.assert_close(results[0], results[1])


def test_across_views_of_uniform_predictions_in_closed_form() -> None:
    targets = softmax(_logits(2, 3, 8), dim=-1)
    assert float(across_views(targets, torch.zeros(4, 3, 8), temperature=0.1)) == pytest.approx(log(8), rel=1e-6)


def _mask() -> Tensor:
    return torch.tensor([[True, False, True, True], [False] * 4, [False, True, False, False]])


def test_masked_patches_is_a_mean_per_image_of_the_masked() -> None:
    targets, mask = softmax(_logits(3, 4, 5), dim=-1), _mask()
    logits = _logits(3, 4, 5, seed=1).requires_grad_()
    per_image = []
    for b in range(3):
        terms = [-(targets[b, n] * (logits[b, n] / 0.2).log_softmax(0)).sum() for n in range(4) if mask[b, n]]
        per_image.append(torch.stack(terms).mean() if terms else torch.zeros(()))
    want = torch.stack(per_image).mean()
    got = masked_patches(targets, logits, mask, temperature=0.2)
    torch.testing.assert_close(got, want)
    (grad,) = torch.autograd.grad(got, logits)
    torch.testing.assert_close(grad, torch.autograd.grad(want, logits)[0])
    assert not grad[~mask].any()
    none = masked_patches(targets, logits, torch.zeros_like(mask), temperature=0.2)
    assert float(none.detach()) == 0


def test_stay_float32_under_autocast() -> None:
    targets, logits = softmax(_logits(2, 3, 5), dim=-1), _logits(2, 3, 5, seed=1)
    want = across_views(targets, logits, temperature=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(across_views(targets, logits, temperature=0.1), want)


@pytest.mark.peers
@pytest.mark.parametrize("num_local", [0, 3])
def test_swavs_loss_is_lightlys_with_sinkhorn_and_queue(num_local: int) -> None:
    theirs: Any = pytest.importorskip("lightly.loss").SwaVLoss()
    scores = torch.tanh(_logits(2 + num_local, 6, 5)).requires_grad_()  # cosines
    queue = torch.tanh(_logits(2, 7, 5, seed=1))
    large, small = list(scores[:2]), list(scores[2:])
    with torch.no_grad():
        rows = [torch.cat([scores[i], queue[i]]) for i in range(2)]
        codes = torch.stack([sinkhorn(each, temperature=0.05, iterations=3)[:6] for each in rows])
    ours, reference = across_views(codes, scores, temperature=0.1), theirs(large, small, list(queue)).squeeze()
    torch.testing.assert_close(ours, reference)
    torch.testing.assert_close(*(torch.autograd.grad(loss, scores)[0] for loss in (ours, reference)))


@pytest.mark.peers
def test_dinos_loss_is_lightlys() -> None:
    theirs: Any = pytest.importorskip("lightly.loss").DINOLoss(output_dim=5, teacher_temp=0.04)
    center = _logits(5, seed=3)
    theirs.center.copy_(center[None, None])
    teacher, student = _logits(2, 6, 5), _logits(5, 6, 5, seed=1).requires_grad_()
    ours = across_views(softmax((teacher - center) / 0.04, dim=-1), student, temperature=0.1)
    reference = theirs(list(teacher), list(student))
    torch.testing.assert_close(ours, reference)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in (ours, reference)))


@pytest.mark.peers
def test_ibots_patch_loss_is_lightlys() -> None:
    theirs: Any = pytest.importorskip("lightly.loss").IBOTPatchLoss(output_dim=5, teacher_temp=0.04)
    center, mask = _logits(5, seed=3), _mask()
    theirs.center.center.copy_(center[None])
    teacher, student = _logits(3, 4, 5), _logits(3, 4, 5, seed=1).requires_grad_()
    ours = masked_patches(softmax((teacher - center) / 0.04, dim=-1), student, mask, temperature=0.1)
    reference = theirs(teacher[mask], student[mask], mask.unflatten(1, (2, 2)))
    torch.testing.assert_close(ours, reference)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in (ours, reference)))
