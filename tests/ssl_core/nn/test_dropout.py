"""What is dropped belongs to the sample, not to the worker, the batch or the process."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_core.nn.dropout import KeyedDropout, keyed
from ssl_core.optimize.collectives import mean_over_workers
from ssl_core.types import Progress
from tests.support.workers import on_workers

IDS = torch.arange(8) + 100
X = torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(0))


def _mask(ids: Tensor, step: int = 0, seed: int = 0, layer: int = 0, views: tuple[int, ...] = (0,)) -> Tensor:
    """[V * B, 5, 7] bool, what is kept."""
    with keyed(ids, Progress(step, 10, seed), views):
        return KeyedDropout(0.5, layer)(torch.ones(len(views) * len(ids), 5, 7)) > 0


def test_the_mask_of_a_sample_is_its_own() -> None:
    mask, mixed = _mask(IDS), torch.tensor([3, 0, 7, 1])
    torch.manual_seed(5)
    assert torch.equal(_mask(IDS[mixed]), mask[mixed]), "whatever its company, place and the process's generator"
    assert len({tuple(row.flatten().tolist()) for row in mask}) == len(IDS)


def test_step_seed_layer_and_view_draw_anew() -> None:
    mask = _mask(IDS)
    for other in (_mask(IDS, step=1), _mask(IDS, seed=1), _mask(IDS, layer=1), _mask(IDS, views=(1,))):
        assert 0.4 < (other == mask).float().mean() < 0.6
    both = _mask(IDS, views=(0, 1))
    assert torch.equal(both[:8], mask) and torch.equal(both[8:], _mask(IDS, views=(1,))), "in one pass or in two"


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_expectation_and_share_are_kept(rate: float) -> None:
    ids, ones = torch.arange(500), torch.ones(500, 400)
    with keyed(ids, Progress(0, 10)):
        out = KeyedDropout(rate, 0)(ones)
    assert float((out == 0).float().mean()) == pytest.approx(rate, abs=0.005)
    assert float(out.mean()) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(out[out > 0], torch.full_like(out[out > 0], 1 / (1 - rate)))


def test_identity_in_eval_mode_and_at_rate_0() -> None:
    assert KeyedDropout(0.5, 0).eval()(X) is X and KeyedDropout(0.0, 0)(X) is X


def test_training_without_keys_or_with_others_is_refused() -> None:
    with pytest.raises(RuntimeError, match="inside `keyed"):
        KeyedDropout(0.5, 0)(X)
    with keyed(IDS, Progress(0, 10)), pytest.raises(RuntimeError, match="16 rows, but keys of 8 samples in 1 views"):
        KeyedDropout(0.5, 0)(torch.cat([X, X]))
    with pytest.raises(ValueError, match="below 1, not 1"):
        KeyedDropout(1.0, 0)


def test_bf16_activations_stay_bf16() -> None:
    with keyed(IDS, Progress(0, 10)):
        assert KeyedDropout(0.5, 0)(X.bfloat16()).dtype == torch.bfloat16


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.inner = nn.Sequential(
            nn.Linear(4, 6), KeyedDropout(0.3, 0), nn.ReLU(), nn.Linear(6, 1), KeyedDropout(0.3, 1)
        )

    def forward(self, x: Tensor, ids: Tensor, progress: Progress) -> Tensor:
        with keyed(ids, progress):
            return self.inner(x).square().mean()


def _step(rank: int, net: nn.Module, world: int) -> tuple[Tensor, list[Tensor]]:
    net, share = copy.deepcopy(net), slice(rank * 8 // world, (rank + 1) * 8 // world)
    wrapped: nn.Module = DistributedDataParallel(net) if world > 1 else net
    loss = wrapped(X[share], IDS[share], Progress(3, 10, seed=2))
    loss.backward()
    return mean_over_workers(loss.detach()), [p.grad.clone() for p in net.parameters() if p.grad is not None]


def test_two_workers_equal_one() -> None:
    net = _Net()
    want = _step(0, net, 1)
    for got in on_workers(2, _step, net, 2):
        torch.testing.assert_close(got, want)
