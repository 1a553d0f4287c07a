"""Dropout whose draws belong to samples: the same on any number of workers and after a restart.

torch's own draws from the process's generator, so what is dropped would depend on the worker, on the company of a
sample in its batch and on where a run was resumed. Here a mask is a function of (seed, step, sample, view, layer). The
keys reach the layers of an encoder past its signature: a method that trains one with dropout wraps the call,

    with keyed(batch.sample_id, progress, views=(0, 1)):
        both = self.encoder(torch.cat(batch.views)).pooled

Shapes: B samples of this worker, V views that pass the encoder one after the other in one batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_core.noise import keyed_bits, salt
from ssl_core.types import Progress

DROPOUT = 0xD409
"""Tells these draws from masks and noise of the same sample and step."""


class _Keys(NamedTuple):
    sample_id: Tensor  # [B] int64
    progress: Progress
    views: tuple[int, ...]


_KEYS: ContextVar[_Keys | None] = ContextVar("keys of dropout", default=None)


@contextmanager
def keyed(sample_id: Tensor, progress: Progress, views: Sequence[int] = (0,)) -> Iterator[None]:
    """Inside, `KeyedDropout` draws for these samples.

    Args:
        sample_id: [B] int64, on the device of the activations.
        views: numbers of the views [V] in the batch that the encoder is given, which is [V * B, ...], view by view.
    """
    token = _KEYS.set(_Keys(sample_id, progress, tuple(views)))
    try:
        yield
    finally:
        _KEYS.reset(token)


class KeyedDropout(nn.Module):
    """Zeroes elements with probability `rate` while training and scales the others by 1 / (1 - rate)."""

    def __init__(self, rate: float, layer: int):
        """
        Args:
            rate: in [0, 1).
            layer: its number in the encoder: layers of one number would drop the same elements.
        Raises:
            ValueError: the rate is outside [0, 1).
        """
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"a dropout rate is at least 0 and below 1, not {rate}")
        self.rate, self.layer = rate, layer

    def extra_repr(self) -> str:
        return f"rate={self.rate}, layer={self.layer}"

    def forward(self, x: Tensor) -> Tensor:
        """[V * B, ...] -> the same shape and type; the input itself in eval mode.

        Raises:
            RuntimeError: training outside `keyed`, or with another number of rows than it was given.
        """
        if not self.training or not self.rate or x.is_meta:  # on the meta device a module is only being checked
            return x
        keys = _KEYS.get()
        if keys is None:
            raise RuntimeError("KeyedDropout: call the encoder inside `keyed(batch.sample_id, progress)` to train it")
        rows = len(keys.views) * len(keys.sample_id)
        if len(x) != rows:
            raise RuntimeError(
                f"KeyedDropout: {len(x)} rows, but keys of {len(keys.sample_id)} samples in {len(keys.views)} views"
            )
        step, count = keys.progress, x[0].numel()
        salts = [salt(DROPOUT, step.seed, step.step, view, self.layer) for view in keys.views]
        kept = torch.cat([_chance(keys.sample_id, count, 1 - self.rate, each) for each in salts])
        return x * kept.view(x.shape) / (1 - self.rate)  # [V * B, ...]


def _chance(sample_id: Tensor, count: int, probability: float, salt: int) -> Tensor:
    """[B] ids -> [B, count] bool, True with this probability; 16 bits each, since there are many."""
    column = torch.arange(-(-count // 4), device=sample_id.device)
    bits = keyed_bits(sample_id, column, salt).view(torch.int16)[:, :count]  # [B, count], uniform
    return bits < round(probability * (1 << 16)) - (1 << 15)


def set_dropout_(module: nn.Module, rate: float) -> None:
    """Give every KeyedDropout of an encoder this rate; they are built with 0.

    Raises:
        ValueError: it has none.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, KeyedDropout)]
    if not layers:
        raise ValueError(f"encoder.name: {type(module).__name__} has no dropout, and this method needs it")
    for layer in layers:
        layer.rate = rate
