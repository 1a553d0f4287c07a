"""Everything that crosses workers. With `sharding.py` the only file here that imports torch.distributed.

Contract: each worker returns the mean loss of its own samples and DDP averages gradients, so a
method that gathers with these functions gets the gradient of the same loss on the whole batch.
Both work on gloo and NCCL alike, and both expect the same shape on every worker.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def gather(x: Tensor) -> Tensor:
    """[B, ...] on each of W workers -> [W * B, ...] in rank order, with gradients to every worker."""
    gathered: Tensor = _Gather.apply(x) if world_size() > 1 else x
    return gathered


def mean_over_workers(x: Tensor) -> Tensor:
    """Elementwise mean over workers, same shape, with gradients to every worker."""
    mean: Tensor = _Mean.apply(x) if world_size() > 1 else x
    return mean


def mean_of(total: Tensor, count: Tensor) -> Tensor:
    """A mean over tokens or frames, of which each worker has another number: the same on 1 worker and on 4.

    A mean of the workers' means would weigh a token by its company. What is returned averages over workers to the sum
    of all totals over the sum of all counts, and so do the gradients, as DDP and FSDP average them. It is no mean of
    this worker's own: log it, or a metric made by it, averaged over workers. With `train.accumulate` the count is of
    the micro-batch, over all workers: micro-batches weigh the same, however many tokens they have.

    Args:
        total: [...] float, the sum of this worker's losses.
        count: [...] how many were summed; 0 is fine, also on all workers (then the total, 0, is returned).
    Returns: [...] as `total`.
    """
    per_worker = mean_over_workers(count.detach().to(total.dtype))
    return total / torch.where(per_worker > 0, per_worker, 1)


def from_first(number: int, device: torch.device) -> int:
    """What rank 0 passed, on every worker."""
    if world_size() == 1:
        return number
    shared = torch.tensor([number], dtype=torch.int64, device=device)
    dist.broadcast(shared, src=0)
    return int(shared)


def least(number: int, device: torch.device) -> int:
    """The least of what the workers passed, on every worker."""
    if world_size() == 1:
        return number
    shared = torch.tensor([number], dtype=torch.int64, device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MIN)
    return int(shared)


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)  # [W * B, ...]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = _sum(grads[0])  # [W * B, ...] every worker's loss pulls on every row
        return total.chunk(world_size())[rank()]  # [B, ...] my rows


class _Mean(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _sum(x) / world_size()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _sum(grads[0]) / world_size()


def _sum(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
