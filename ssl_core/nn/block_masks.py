"""Masks of blocks on a grid of patches, keyed by sample.

Shapes: B samples, N patches of a grid of any number of axes.
"""

from math import prod

import torch
from torch import Tensor

from ssl_core.noise import keyed_below, keyed_bits


def unit_mask(sample_id: Tensor, grid: tuple[int, ...], unit: int, ratio: float, salt: int) -> Tensor:
    """Mask whole units of `unit` patches a side, the same number of them in each sample (SimMIM).

    Args:
        sample_id: [B] int64.
        grid: patches along each axis, multiples of `unit`.
        ratio: share of units to mask; at least one is masked and one is not.
    Returns: [B, N] bool, True where masked.
    """
    coarse = tuple(side // unit for side in grid)
    count = prod(coarse)
    order = keyed_bits(sample_id, torch.arange(count, device=sample_id.device), salt).argsort(dim=1, stable=True)
    masked = min(max(round(ratio * count), 1), max(count - 1, 1))
    mask = torch.zeros_like(order, dtype=torch.bool).scatter(1, order[:, :masked], True)  # [B, units]
    mask = mask.unflatten(1, coarse)
    for axis in range(len(grid)):
        mask = mask.repeat_interleave(unit, dim=1 + axis)
    return mask.flatten(1)


def block_mask(sample_id: Tensor, grid: tuple[int, int], size: tuple[int, int], column: int, salt: int) -> Tensor:
    """One rectangle per sample, anywhere it fits, the last rows and columns included.

    Args:
        grid: rows and columns of patches.
        size: rows and columns of the rectangle.
        column: number of the draw: other rectangles of the same sample have another one.
    Returns: [B, N] bool, True inside.
    """
    inside = []
    for axis, (side, extent) in enumerate(zip(grid, size, strict=True)):
        number = torch.full((1,), 2 * column + axis, device=sample_id.device)
        first = keyed_below(sample_id, number, side - extent + 1, salt)  # [B, 1]
        place = torch.arange(side, device=sample_id.device)
        inside.append((place >= first) & (place < first + extent))  # [B, side]
    return (inside[0][:, :, None] & inside[1][:, None]).flatten(1)


def draw_places(preferred: Tensor, allowed: Tensor, count: int, sample_id: Tensor, salt: int) -> Tensor:
    """`count` places of each sample at random, those that are not preferred last.

    Args:
        preferred, allowed: [B, N] bool; what is preferred is allowed, and `count` places or more are.
    Returns: [B, count] int64, in order.
    """
    bits = keyed_bits(sample_id, torch.arange(allowed.shape[1], device=allowed.device), salt)  # [B, N]
    drawn = (bits & ((1 << 60) - 1)) + ((~preferred).long() << 60) + ((~allowed).long() << 61)
    return drawn.argsort(dim=1, stable=True)[:, :count].sort(dim=1).values
