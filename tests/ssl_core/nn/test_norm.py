"""BatchNorm over all workers against nn.BatchNorm on the whole batch, on real gloo workers."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ssl_core.nn.norm import BatchNorm1d, BatchNorm2d
from tests.support.workers import on_workers

SHAPES = [(12, 5), (12, 5, 3), (12, 5, 4, 4)]


def _layer(shape: tuple[int, ...], own: bool) -> nn.Module:
    kinds: tuple[type[nn.Module], type[nn.Module]] = (BatchNorm1d, nn.BatchNorm1d)
    if len(shape) == 4:
        kinds = (BatchNorm2d, nn.BatchNorm2d)
    layer = kinds[0](5) if own else kinds[1](5)
    generator = torch.Generator().manual_seed(4)
    for p in layer.parameters():
        nn.init.uniform_(p, 0.5, 1.5, generator=generator)
    return layer


def _run(rank: int, layer: nn.Module, x: Tensor, weight: Tensor, world: int) -> dict[str, Tensor]:
    """One training pass over this worker's rows; gradients are of the sum over all rows."""
    layer = copy.deepcopy(layer)
    rows = slice(rank * len(x) // world, (rank + 1) * len(x) // world)
    mine = x[rows].clone().requires_grad_()
    out = layer(mine)
    (out.float().square() * weight[rows]).sum().backward()
    assert mine.grad is not None
    return {"out": out.detach(), "grad": mine.grad, **_gradients(layer), **layer.state_dict()}


def _gradients(layer: nn.Module) -> dict[str, Tensor]:
    return {f"grad of {name}": p.grad for name, p in layer.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_two_workers_normalize_like_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(shape, generator=generator) * 3 + 10).to(dtype)  # a mean far from zero: no cancellation
    if len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    weight = torch.randn(shape, generator=generator)
    want = _run(0, _layer(shape, own=False), x, weight, 1)
    first, second = on_workers(2, _run, _layer(shape, own=True), x, weight, 2)
    rtol, atol = (1e-4, 1e-4) if dtype is torch.float32 else (0.02, 0.1)
    for key in ("out", "grad"):
        torch.testing.assert_close(torch.cat([first[key], second[key]]), want[key], rtol=rtol, atol=atol)
    for key in ("grad of weight", "grad of bias"):
        torch.testing.assert_close(first[key] + second[key], want[key], rtol=rtol, atol=atol)
    for key in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(first[key], second[key])
        torch.testing.assert_close(first[key], want[key], rtol=1e-5, atol=1e-5)  # float32 whatever the input


def test_two_workers_normalize_like_one_without_scale_and_offset() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 12, 5, generator=generator)
    want = _run(0, nn.BatchNorm1d(5, affine=False), x, weight, 1)
    first, second = on_workers(2, _run, BatchNorm1d(5, affine=False), x, weight, 2)
    for key in ("out", "grad"):
        torch.testing.assert_close(torch.cat([first[key], second[key]]), want[key], rtol=1e-4, atol=1e-5)
    for key in ("running_mean", "running_var"):
        torch.testing.assert_close(first[key], want[key], rtol=1e-5, atol=1e-5)


def test_one_worker_is_plain_batch_norm() -> None:
    x = torch.randn(6, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    want, got = (_run(0, _layer((6, 5, 4, 4), own), x, torch.ones_like(x), 1) for own in (False, True))
    assert all(torch.equal(got[key], want[key]) for key in want)


def test_eval_mode_crosses_no_worker() -> None:
    assert all(on_workers(2, _eval_on_rank_zero_only, _layer((6, 5), own=True)))


def _eval_on_rank_zero_only(rank: int, layer: nn.Module) -> bool:
    if rank == 0:
        layer = copy.deepcopy(layer).eval()
        return bool(layer(torch.ones(3, 5)).isfinite().all())
    return True
