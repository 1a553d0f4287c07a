"""BatchNorm whose training statistics cover the batch of all workers, on any backend.

torch's SyncBatchNorm runs on GPUs only. With this one a run on N workers, CPU or GPU, has the loss,
gradients and running statistics of the run on one. Every worker must hold equally many samples.
Shapes: B samples on this worker, C channels, ... positions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_core.optimize.collectives import gather, mean_over_workers, world_size


class _SpansWorkers(_BatchNorm):
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, ...] -> same shape and dtype; statistics are float32 whatever the dtype."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        weight: Tensor = self.weight if self.affine else torch.ones_like(self.running_mean)
        bias: Tensor = self.bias if self.affine else torch.zeros_like(self.running_mean)
        mean, var = _statistics(input, weight, self.eps)
        with torch.no_grad():
            count = world_size() * input.numel() // len(mean)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)  # unbiased, as in one worker
            self.num_batches_tracked.add_(1)
        normalized: Tensor = _Normalize.apply(input, mean, var, weight, bias, self.eps)
        return normalized


class BatchNorm1d(_SpansWorkers, nn.BatchNorm1d):
    """nn.BatchNorm1d over the batch of all workers: [B, C] or [B, C, T]."""


class BatchNorm2d(_SpansWorkers, nn.BatchNorm2d):
    """nn.BatchNorm2d over the batch of all workers: [B, C, H, W]."""


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm normalizes by the batch as ever, and its running statistics stay what they were."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    kept = [(layer, name, buffer) for layer in layers for name, buffer in layer.named_buffers(recurse=False)]
    for layer, name, buffer in kept:
        setattr(layer, name, buffer.clone())  # backward may read what the pass has read: it is not written back to
    try:
        yield
    finally:
        for layer, name, buffer in kept:
            setattr(layer, name, buffer)


@torch.no_grad()
def _statistics(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """[B, C, ...] -> mean [C] and biased variance [C] over all workers, in one message."""
    # the fused kernel also writes an output that nobody reads, and still takes a seventh of var_mean's time on a CPU
    _, mean, inverse_std = torch.native_batch_norm(x, weight, weight, None, None, True, 0.0, eps)  # float32 [C]
    var = (inverse_std**-2 - eps).clamp_min(0)
    means, variances = gather(torch.stack([mean, var])[None]).unbind(1)  # [W, C] each
    return means.mean(0), variances.mean(0) + means.var(0, correction=0)


class _Normalize(Function):
    """Normalize by statistics that are themselves functions of the input on every worker.

    Forward and most of backward are torch's own fused kernels for fixed statistics; what the
    statistics add to the input's gradient needs two sums over the global batch (Ioffe & Szegedy, 2015,
    the gradients after algorithm 1).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, mean, var, weight)
        ctx.eps = eps
        return batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, var, weight = ctx.saved_tensors
        # with fixed statistics; grad_weight = sum(grad * normalized x), grad_bias = sum(grad), over this worker
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grads[0], x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        share = torch.stack([grad_weight, grad_bias]) * (len(mean) / x.numel())  # [2, C] means over my positions
        by_var, by_mean = mean_over_workers(share)  # [C] each
        inverse_std = (var + ctx.eps).rsqrt()
        slope = weight * inverse_std.square() * by_var  # [C]
        offset = weight * inverse_std * by_mean - slope * mean  # [C]
        shape = [1, -1] + [1] * (x.dim() - 2)
        # in x's own dtype and in place: a bf16 network should not need float32 activations here
        grad_x.addcmul_(x, slope.to(x.dtype).view(shape), value=-1).sub_(offset.to(x.dtype).view(shape))
        return grad_x, None, None, grad_weight, grad_bias, None
