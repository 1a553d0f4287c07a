"""Sinkhorn assignments: against the authors' lines, at their limits, over workers, and beside lightly's."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_core.nn.sinkhorn import sinkhorn
from tests.support.workers import on_workers


def _scores(count: int, prototypes: int, seed: int = 0) -> Tensor:
    return torch.rand(count, prototypes, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _published(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """SwAV, listing in appendix: rows of the transposed matrix are prototypes."""
    q = (scores.double() / epsilon).exp().T
    q /= q.sum()
    prototypes, count = q.shape
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / prototypes
        q = q / q.sum(dim=0, keepdim=True) / count
    return (q * count).T.float()


@pytest.mark.parametrize(("epsilon", "iterations"), [(0.05, 3), (0.5, 1), (0.1, 10)])
def test_is_the_published_algorithm(epsilon: float, iterations: int) -> None:
    scores = _scores(9, 5)
    got = sinkhorn(scores, temperature=epsilon, iterations=iterations)
    torch.testing.assert_close(got, _published(scores, epsilon, iterations), rtol=1e-4, atol=1e-6)


def test_uses_all_prototypes_alike_where_the_scores_prefer_one() -> None:
    scores = _scores(12, 4)
    scores[:, 0] += 2
    assert (scores.argmax(1) == 0).float().mean() > 0.8
    codes = sinkhorn(scores, temperature=0.1, iterations=200)
    torch.testing.assert_close(codes.sum(0), torch.full((4,), 3.0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(codes.sum(1), torch.ones(12))


def test_stays_finite_where_the_published_lines_overflow() -> None:
    scores = 100 * _scores(6, 4)
    scores[:, 3] = -1e4  # a prototype that is far from everything
    assert not _published(scores.float(), 0.01, 3).isfinite().all()
    codes = sinkhorn(scores, temperature=0.01, iterations=3)
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(1), torch.ones(6))


def test_rows_that_do_not_count_change_nothing() -> None:
    scores = _scores(9, 5)
    counts = torch.tensor([True, False, True, True, False, True, True, True, False])
    some = sinkhorn(scores, temperature=0.05, iterations=3, counts=counts)[counts]
    torch.testing.assert_close(some, sinkhorn(scores[counts], temperature=0.05, iterations=3))
    assert sinkhorn(scores, temperature=0.05, iterations=3, counts=torch.zeros(9, dtype=torch.bool)).isfinite().all()


def _part(rank: int, shares: list[Tensor], counts: list[Tensor]) -> Tensor:
    return sinkhorn(shares[rank], temperature=0.05, iterations=3, counts=counts[rank])


def test_of_two_workers_is_that_of_one_also_with_unequal_shares() -> None:
    scores, counts = _scores(9, 5), torch.arange(9) != 4
    shares, marks = list(scores.split([6, 3])), list(counts.split([6, 3]))
    whole = sinkhorn(scores, temperature=0.05, iterations=3, counts=counts)
    torch.testing.assert_close(torch.cat(on_workers(2, _part, shares, marks))[counts], whole[counts])
    marks[1] = torch.zeros(3, dtype=torch.bool)  # a worker without samples
    first, _ = on_workers(2, _part, shares, marks)
    alone = sinkhorn(shares[0], temperature=0.05, iterations=3, counts=marks[0])
    torch.testing.assert_close(first[marks[0]], alone[marks[0]])


@pytest.mark.peers
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_is_lightlys(epsilon: float) -> None:
    theirs: Any = pytest.importorskip("lightly.loss.swav_loss").sinkhorn
    scores = _scores(12, 7)
    got = sinkhorn(scores, temperature=epsilon, iterations=3)
    torch.testing.assert_close(got, theirs(scores, iterations=3, epsilon=epsilon), rtol=1e-4, atol=1e-6)
