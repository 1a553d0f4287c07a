"""NNCLR's loss against a loop of the paper's formula and against lightly."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_core.losses.contrastive import in_batch_nce, nt_xent


def _unit(count: int, dim: int, seed: int) -> Tensor:
    return normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def _loop(anchor: Tensor, candidates: Tensor, first: int, temperature: float) -> Tensor:
    """NNCLR, eq. 3."""
    rows = []
    for i in range(len(anchor)):
        similar = [(anchor[i] @ candidate / temperature).exp() for candidate in candidates]
        rows.append(-(similar[first + i] / sum(similar)).log())
    return torch.stack(rows).mean()


def test_loss_and_gradients_are_equation_3() -> None:
    inputs = _unit(4, 6, 0).requires_grad_(), _unit(9, 6, 1).requires_grad_()
    ours = in_batch_nce(*inputs, first=3, temperature=0.2)
    want = _loop(inputs[0].double(), inputs[1].double(), 3, 0.2)
    torch.testing.assert_close(ours, want.float())
    torch.testing.assert_close(torch.autograd.grad(ours, inputs), torch.autograd.grad(want, inputs))


def test_shares_average_to_the_whole() -> None:
    anchor, candidates = _unit(8, 5, 0), _unit(8, 5, 1)
    parts = [in_batch_nce(anchor[i : i + 2], candidates, first=i, temperature=0.2) for i in range(0, 8, 2)]
    whole = in_batch_nce(anchor, candidates, first=0, temperature=0.2)
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_stays_float32_under_autocast() -> None:
    anchor, candidates = _unit(8, 16, 0), _unit(8, 16, 1)
    want = in_batch_nce(anchor, candidates, first=0, temperature=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(in_batch_nce(anchor, candidates, first=0, temperature=0.1), want)


@pytest.mark.peers
def test_loss_and_gradient_are_lightlys_with_the_other_candidates_as_its_memory_bank() -> None:
    """lightly's NNCLR example calls NTXentLoss without a bank: SimCLR's loss of (neighbors, predictions), where
    neighbors repel neighbors and predictions repel predictions. In the paper (eq. 3) neither does. With a bank of the
    other samples' predictions, one anchor at a time, NTXentLoss is the paper's."""
    lightly: Any = pytest.importorskip("lightly.loss")
    raw, candidates = torch.randn(7, 6, generator=torch.Generator().manual_seed(0)).requires_grad_(), _unit(7, 6, 1)
    anchor = normalize(raw, dim=-1)  # lightly does it itself
    rows = []
    for i in range(7):
        loss = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(6, 6))
        loss.memory_bank.bank = torch.cat([candidates[:i], candidates[i + 1 :]])
        rows.append(loss(raw[i : i + 1], candidates[i : i + 1]))
    theirs, ours = torch.stack(rows).mean(), in_batch_nce(anchor, candidates, first=0, temperature=0.2)
    torch.testing.assert_close(ours, theirs)
    mine, other = (torch.autograd.grad(loss, raw, retain_graph=True)[0] for loss in (ours, theirs))
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)

    example = lightly.NTXentLoss(temperature=0.2)(raw, candidates)
    torch.testing.assert_close(example, nt_xent(anchor, candidates, anchor, candidates, first=0, temperature=0.2))
    assert example > ours + 0.1
