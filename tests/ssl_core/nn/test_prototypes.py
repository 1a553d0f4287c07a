"""The head that scores prototypes and the center of a teacher's scores."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_core.nn.prototypes import Center, PrototypeHead
from tests.support.workers import on_workers


def _head() -> PrototypeHead:
    torch.manual_seed(0)
    return PrototypeHead(6, 16, 5, 7)


def test_scores_are_cosines_whatever_the_length_of_a_prototype() -> None:
    head, x = _head(), torch.randn(4, 3, 6)
    scores = head(x)
    z = normalize(head.project(x), dim=-1)
    for k, prototype in enumerate(head.prototypes):
        torch.testing.assert_close(scores[..., k], z @ (prototype / prototype.norm()))
    with torch.no_grad():
        head.prototypes.mul_(3)
    torch.testing.assert_close(head(x), scores)


def test_a_narrow_head_and_a_wide_one_start_with_outputs_of_one_size() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 128)
    sizes = [float(PrototypeHead(128, width, 32, 2).project(x).detach().std()) for width in (32, 512)]
    assert sizes == pytest.approx([sizes[0]] * 2, rel=0.5)


def test_center_is_used_as_it_was_and_moves_by_the_mean_of_the_step() -> None:
    center, scores = Center(3, momentum=0.9), torch.randn(2, 4, 3)
    first = center(scores, 0.1)
    torch.testing.assert_close(first, (scores / 0.1).softmax(-1))
    center(scores + 1, 0.1)  # another micro-batch of this step
    assert not center.mean.any()
    center.follow_()
    torch.testing.assert_close(center.mean, 0.1 * (scores.mean((0, 1)) + 0.5))
    torch.testing.assert_close(center(scores, 0.1), ((scores - center.mean) / 0.1).softmax(-1))


def test_center_of_an_evaluation_stays() -> None:
    center = Center(3, momentum=0.9).eval()
    center(torch.randn(4, 3), 0.1)
    center.follow_()
    assert not center.mean.any()


def _centered(rank: int, scores: Tensor) -> Tensor:
    center = Center(3, momentum=0.5)
    center(scores.chunk(2)[rank], 0.1)
    center.follow_()
    return center.mean


def test_center_spans_workers() -> None:
    scores = torch.randn(6, 3)
    for mean in on_workers(2, _centered, scores):
        torch.testing.assert_close(mean, 0.5 * scores.mean(0))


@pytest.mark.peers
def test_head_and_center_are_lightlys() -> None:
    modules: Any = pytest.importorskip("lightly.models.modules")
    center_type: Any = pytest.importorskip("lightly.models.modules.center").Center
    ours, theirs = _head(), modules.DINOProjectionHead(6, 16, 5, 7)
    linear = [layer for layer in theirs.layers if isinstance(layer, nn.Linear)]
    for layer, other in zip([ours.project[0], ours.project[2], ours.project[4]], linear, strict=True):
        other.load_state_dict(layer.state_dict())
    with torch.no_grad():
        theirs.last_layer.weight_v.copy_(ours.prototypes)
    x = torch.randn(4, 6, requires_grad=True)
    scores = ours(x), theirs(x)
    torch.testing.assert_close(*scores)
    weight = torch.randn(4, 7)
    torch.testing.assert_close(*(torch.autograd.grad((s * weight).sum(), x, retain_graph=True)[0] for s in scores))
    grads = [
        torch.autograd.grad((s * weight).sum(), p)[0]
        for s, p in zip(scores, (ours.prototypes, theirs.last_layer.weight_v), strict=True)
    ]
    torch.testing.assert_close(*grads)
    center, reference = Center(7, momentum=0.9), center_type((1, 7), momentum=0.9)
    for step in range(3):
        center(scores[0].detach() * step, 0.1)
        center.follow_()
        reference.update(scores[0].detach() * step)
    torch.testing.assert_close(center.mean, reference.value[0])
