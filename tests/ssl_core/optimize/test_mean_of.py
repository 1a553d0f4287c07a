"""A mean over tokens is the same on one worker and on several, in its value and in its gradient."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_core.optimize.collectives import mean_of, mean_over_workers
from tests.support.workers import on_workers

X = torch.randn(8, 5, 3, generator=torch.Generator().manual_seed(0))  # [B, T, D]
LENGTHS = torch.tensor([1, 2, 1, 1, 5, 5, 3, 4])  # 5 tokens on the first worker, 17 on the second


class Ragged(nn.Module):
    """The mean square of what a layer makes of the tokens there are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        valid = torch.arange(x.shape[1]) < length[:, None]  # [B, T]
        return mean_of((self.layer(x)[..., 0].square() * valid).sum(), valid.sum())


def _step(rank: int, world: int, lengths: Tensor, parts: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and the gradients of the whole batch, in `parts` micro-batches as the loop takes them."""
    model, share = Ragged(), slice(rank * 8 // world, (rank + 1) * 8 // world)
    net: nn.Module = DistributedDataParallel(model) if world > 1 else model
    loss = torch.zeros(())
    for x, length in zip(X[share].chunk(parts), lengths[share].chunk(parts), strict=True):
        part = net(x, length) / parts
        part.backward()
        loss = loss + part.detach()
    return mean_over_workers(loss), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_two_workers_with_unequal_counts_equal_one() -> None:
    want = _step(0, 1, LENGTHS)
    outputs = Ragged().layer(X)[..., 0].square()
    tokens = torch.cat([row[:n] for row, n in zip(outputs, LENGTHS.tolist(), strict=True)])
    torch.testing.assert_close(want[0], tokens.mean().detach())
    for got in on_workers(2, _step, 2, LENGTHS):
        torch.testing.assert_close(got, want)


def test_a_worker_without_tokens_has_no_say() -> None:
    lengths = LENGTHS * (torch.arange(8) < 4)
    want = _step(0, 1, lengths)
    for got in on_workers(2, _step, 2, lengths):
        torch.testing.assert_close(got, want)
    loss, grads = _step(0, 1, torch.zeros(8, dtype=torch.int64))
    assert loss == 0 and all(not grad.any() for grad in grads.values()), "no tokens at all is no NaN"


def test_with_accumulate_the_count_is_of_the_micro_batch() -> None:
    """Each micro-batch, on all workers together, is one mean, and these are averaged."""
    got = on_workers(2, _step, 2, LENGTHS, 2)
    first, second = torch.tensor([0, 1, 4, 5]), torch.tensor([2, 3, 6, 7])  # the halves of both shares
    model = Ragged()
    means = [copy.deepcopy(model)(X[rows], LENGTHS[rows]) for rows in (first, second)]
    for loss, _ in got:
        torch.testing.assert_close(loss, torch.stack(means).mean().detach())
    assert float(got[0][0]) != pytest.approx(float(_step(0, 1, LENGTHS)[0]), rel=1e-3)
