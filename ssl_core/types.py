"""The values that cross module boundaries, with their shapes.

Shapes: B samples on this worker, N tokens per sample, D encoder width, T positions of a sequence.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Target(NamedTuple):
    """What a supervised method or a task learns to tell."""

    value: Tensor
    """[B] int64 class | [B] float number | [B, C] bool classes | [B, L] int64 ids | [B, *grid] int64 ids."""
    valid: Tensor | None = None
    """[B, L] bool, True where there are ids; None: everywhere."""


@dataclass(frozen=True)
class Batch:
    """One worker's share of a training batch, already augmented."""

    views: tuple[Tensor, ...]
    """One [B, *view_shape] tensor per entry of Method.kinds, each of the shape of its kind."""
    sample_id: Tensor
    """[B] int64, stable across epochs, restarts and worker counts."""
    valid: tuple[Tensor | None, ...] = ()
    """Per view: None, or [B, T] bool, True where there is data (text, audio). Empty: all None."""
    target: Target | None = None
    """Only for a method that says what it `reads`; self-supervised methods never see one."""

    def valid_of(self, view: int) -> Tensor | None:
        """[B, T] bool of one view; None: all of it is data."""
        return self.valid[view] if self.valid else None

    @property
    def together(self) -> tuple[Tensor, Tensor | None]:
        """All V views one after the other, [V B, *view_shape], and their valid [V B, T]."""
        valid = [each for each in self.valid if each is not None]
        return torch.cat(self.views), torch.cat(valid) if valid else None


@dataclass(frozen=True)
class Progress:
    """How far training is: schedules read `fraction`, keyed randomness reads `step`."""

    step: int
    """Optimizer steps already taken."""
    total: int
    """Optimizer steps planned."""
    seed: int = 0
    """The run's: with the step and the sample id it keys what a method draws (masks, noise)."""

    @property
    def fraction(self) -> float:
        return self.step / self.total


class Features(NamedTuple):
    pooled: Tensor  # [B, D] one vector per sample: what probes and joint-embedding losses read
    tokens: Tensor  # [B, N, D] one vector per patch, frame or word: what dense losses read


class LossOutput(NamedTuple):
    loss: Tensor  # [] mean over this worker's samples
    metrics: dict[str, Tensor]  # name -> [] scalar, averaged over workers before logging
