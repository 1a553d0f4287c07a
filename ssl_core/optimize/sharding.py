"""Parameters shared out over the workers: each keeps its rows, and has a block whole only while it computes (FSDP2).

What `optimize/collectives.py` promises stays: gradients are averaged over workers, buffers are whole on each of them.
torch's `fully_shard` does the work (Zhao et al., 2023, https://arxiv.org/abs/2304.11277); the whole tensor of a
parameter of shape [n, ...] has ceil(n / W) rows on each of W workers, fewer or none on the last.

Its parts of torch are imported where they are used: that takes time, and most runs do not shard.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_core.encoders.base import Encoder
from ssl_core.optimize.collectives import world_size


def check_shardable(method: nn.Module) -> None:
    """
    Raises:
        ValueError: a parameter that has no rows to share out, or is in use at two places.
    """
    seen: dict[nn.Parameter, str] = {}
    for name, p in method.named_parameters(remove_duplicate=False):
        if p.ndim == 0:
            raise ValueError(f"{name} is a single number, which cannot be shared out; take train.parallel ddp")
        if p in seen:  # fully_shard would make two of it, each with half of the gradient
            raise ValueError(f"{seen[p]} and {name} are one parameter, which would become two; take train.parallel ddp")
        seen[p] = name


def shard_(method: nn.Module, device: torch.device, *, bf16: bool) -> None:
    """Move a method, built on the CPU, to `device`, and share its parameters out over all workers, block by block.

    Units are the blocks of every encoder inside, teachers included, and the method for all the rest (stems, norms,
    heads). Build the optimizer afterwards: the parameters are new ones.

    Args:
        bf16: gather blocks in bfloat16, half the bytes, and compute them in it, from float32 and back to it. Blocks
            with BatchNorm and all the rest stay float32, as do sums of gradients, shares and the optimizer's state.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    if device.type == "cuda":
        torch.cuda.set_device(device)  # the mesh takes the current one
    mesh = init_device_mesh(device.type, (world_size(),))
    half = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32)
    full = MixedPrecisionPolicy()
    for block in _blocks(method):
        fully_shard(block, mesh=mesh, mp_policy=half if bf16 and not _has_batch_norm(block) else full)
    fully_shard(method, mesh=mesh, mp_policy=full)


def is_sharded(module: nn.Module) -> bool:
    return any(_is_share(p) for p in module.parameters())


@contextmanager
def stem_gathered(method: nn.Module) -> Iterator[None]:
    """Inside, parts of a method can be called on their own, by all workers alike: what is in no block is whole.

    Blocks gather themselves. Without sharding nothing happens.
    """
    if not is_sharded(method):
        yield
        return
    method.unshard()  # type: ignore[operator]  # fully_shard has given the method these two
    try:
        yield
    finally:
        method.reshard()  # type: ignore[operator]


def whole(x: Tensor) -> Tensor:
    """The tensor of all workers' shares, on each of them (a collective); one that is not shared out as it is."""
    gathered: Tensor = x.full_tensor() if _is_share(x) else x  # type: ignore[attr-defined]
    return gathered


def share_of(x: Tensor, like: Tensor | None) -> Tensor:
    """This worker's share of a tensor that each worker has whole, by the rows of `like`; crosses no worker.

    Returns: `x` itself where `like` is not shared out, or has another shape.
    """
    if like is None or not _is_share(like) or like.shape != x.shape:
        return x
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    # cloned: a view would keep the whole alive
    return distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None).clone()


def _is_share(x: Tensor) -> bool:
    if type(x) in (Tensor, nn.Parameter):
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(x, DTensor)


def _blocks(method: nn.Module) -> list[nn.Module]:
    """The composite layers of every encoder inside; what is a single matrix or norm is too small for a message."""
    encoders = [module for module in method.modules() if isinstance(module, Encoder)]
    layers = [layer for encoder in encoders for layer in encoder.layers()]
    return [layer for layer in layers if any(layer.children()) and any(True for _ in layer.parameters())]


def _has_batch_norm(block: nn.Module) -> bool:
    return any(isinstance(layer, _BatchNorm) for layer in block.modules())
