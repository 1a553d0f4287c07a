"""Teacher networks that follow a student by exponential moving average."""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def frozen_copy(module: M) -> M:
    """A copy that no optimizer touches; it starts equal to `module` and shares nothing with it."""
    copy = deepcopy(module)
    copy.requires_grad_(False)
    return copy


@torch.no_grad()
def follow_(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student for every parameter, in place (MoCo, eq. 2).

    Buffers stay the teacher's own: its BatchNorm averages describe the activations of its own weights.

    Raises:
        ValueError: the two do not have the same parameters.
    """
    mine, theirs = dict(teacher.named_parameters()), dict(student.named_parameters())
    if mine.keys() != theirs.keys():
        raise ValueError(f"teacher and student differ in parameters {sorted(mine.keys() ^ theirs.keys())}")
    if mine:
        torch._foreach_lerp_(list(mine.values()), list(theirs.values()), 1 - momentum)
