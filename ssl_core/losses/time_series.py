"""Losses over the steps of time series. Pure functions of tensors.

Shapes: B samples on this worker, G samples on all workers, T steps, D width.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, max_pool1d


def hierarchical_contrast(a: Tensor, b: Tensor, all_a: Tensor, all_b: Tensor, *, first: int, alpha: float) -> Tensor:
    """TS2Vec's loss on max-pooled steps, again and again by two until one is left (Yue et al., 2022, algorithm 1).

    Args:
        a, b: [B, T, D] the same steps of this worker's samples in two contexts.
        all_a, all_b: [G, T, D] the same for the global batch; on one worker G = B.
        first: the row of all_a that is a[0].
        alpha: weight of the instance-wise part; the temporal part has 1 - alpha (the authors' code: 0.5).
    Returns: [] float32 mean over the levels, all of which count once; a single step has no temporal part.
    """
    with torch.autocast(a.device.type, enabled=False):
        sides = [x.float() for x in (a, b, all_a, all_b)]
        total, levels = a.new_zeros((), dtype=torch.float32), 0
        while True:
            total = total + alpha * instance_contrast(*sides, first=first)
            levels += 1
            if sides[0].shape[1] == 1:
                return total / levels
            total = total + (1 - alpha) * temporal_contrast(sides[0], sides[1])
            sides = [max_pool1d(x.transpose(1, 2), 2).transpose(1, 2) for x in sides]


def instance_contrast(a: Tensor, b: Tensor, all_a: Tensor, all_b: Tensor, *, first: int) -> Tensor:
    """At each step, tell the sample's other context from all other samples in both (eq. 2).

    Args: as of `hierarchical_contrast`.
    Returns: [] mean over both sides, B samples and T steps.
    """
    rows = first + torch.arange(len(a), device=a.device)  # [B]
    return (_one_side(a, all_a, all_b, rows) + _one_side(b, all_b, all_a, rows)) / 2


def _one_side(anchor: Tensor, same: Tensor, other: Tensor, rows: Tensor) -> Tensor:
    pool = torch.cat([other, same]).transpose(0, 1)  # [T, 2G, D]
    logits = anchor.transpose(0, 1) @ pool.transpose(1, 2)  # [T, B, 2G]
    itself = (rows + len(other)).expand(logits.shape[0], -1)[..., None]  # [T, B, 1]
    logits = logits.scatter(2, itself, float("-inf"))
    return cross_entropy(logits.flatten(0, 1), rows.repeat(logits.shape[0]))


def temporal_contrast(a: Tensor, b: Tensor) -> Tensor:
    """In each sample, tell the step in the other context from all other steps in both (eq. 1).

    Args:
        a, b: [B, T, D].
    Returns: [] mean over both sides, B samples and T steps.
    """
    steps = torch.arange(a.shape[1], device=a.device)  # [T]
    both, total = (a, b), a.new_zeros(())
    for anchor, other in (both, both[::-1]):
        itself = torch.diag_embed(a.new_full((a.shape[1],), float("-inf")))  # [T, T]
        logits = torch.cat([anchor @ other.transpose(1, 2), anchor @ anchor.transpose(1, 2) + itself], dim=2)
        total = total + cross_entropy(logits.flatten(0, 1), steps.repeat(len(a))) / 2
    return total
