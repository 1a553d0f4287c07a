from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_core.nn.queue import enqueue_, nearest, random_unit_vectors


def _filled(size: int, *batches: Tensor) -> tuple[Tensor, int]:
    queue, next_slot = torch.zeros(size, batches[0].shape[1]), torch.tensor(0)
    for batch in batches:
        enqueue_(queue, next_slot, batch)
    return queue, int(next_slot)


def test_a_ring_of_any_size_drops_the_oldest() -> None:
    queue, next_slot = _filled(5, *(torch.full((2, 1), float(i)) for i in (1, 2, 3)))
    assert queue.flatten().tolist() == [3, 1, 2, 2, 3] and next_slot == 1


def test_of_a_batch_larger_than_the_queue_the_last_stay() -> None:
    queue, _ = _filled(3, torch.arange(7.0)[:, None])
    assert sorted(queue.flatten().tolist()) == [4, 5, 6]


def test_starts_with_the_same_unit_vectors_everywhere() -> None:
    queue = random_unit_vectors(20, 8, salt=3)
    torch.manual_seed(7)
    assert torch.equal(random_unit_vectors(20, 8, salt=3), queue)
    torch.testing.assert_close(queue.norm(dim=1), torch.ones(20))


def test_nearest_is_the_row_at_the_least_distance() -> None:
    z, queue = random_unit_vectors(6, 4, salt=1), random_unit_vectors(30, 4, salt=2)
    want = [min(queue, key=lambda row: float((row - vector).norm())) for vector in z]
    assert torch.equal(nearest(z, queue), torch.stack(want))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest(z, queue), torch.stack(want))


@pytest.mark.peers
def test_neighbors_and_queue_are_those_of_lightlys_memory_bank() -> None:
    modules: Any = pytest.importorskip("lightly.models.modules")
    bank = modules.NNMemoryBankModule(size=(12, 4))
    queue, next_slot = bank.bank.clone(), torch.tensor(0)
    for seed in range(5):  # batches of 4 in 12 slots: the fourth overwrites the first
        z = normalize(torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)), dim=1)
        torch.testing.assert_close(nearest(z, queue), bank(z, update=True))
        enqueue_(queue, next_slot, z)
        assert torch.equal(queue, bank.bank)


@pytest.mark.peers
def test_lightlys_memory_bank_drops_what_does_not_fit_before_the_end() -> None:
    """Where the batch does not divide the queue, lightly cuts it at the end and starts anew; ours wraps around."""
    modules: Any = pytest.importorskip("lightly.models.modules")
    bank = modules.NNMemoryBankModule(size=(5, 1))
    batches = [torch.full((2, 1), float(i)) for i in (1, 2, 3)]
    for batch in batches:
        bank(batch, update=True)
    assert bank.bank.flatten().tolist() == [1, 1, 2, 2, 3]  # one 3 is lost, and the next batch starts at slot 0
    assert _filled(5, *batches)[0].flatten().tolist() == [3, 1, 2, 2, 3]
