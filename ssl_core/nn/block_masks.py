"""Masks of blocks on a grid of patches, keyed by sample.

Shapes: B samples, N patches of a grid of any number of axes.
"""

from math import log, prod

import torch
from torch import Tensor

from ssl_core.noise import keyed_below, keyed_bits

BLOCKS = 7  # rectangles of a blockwise mask; in `first << 58` they need three bits
SMALLEST = 0.25  # of the masked area that a rectangle may be
ASPECT = 1 / 0.3  # the longest side of a rectangle over its shortest (BEiT)


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


def blockwise_mask(
    sample_id: Tensor, grid: tuple[int, int], probability: float, ratio: tuple[float, float], salt: int
) -> Tensor:
    """Rectangles that overlap, until a drawn number of patches is masked, exactly (BEiT, algorithm 1; iBOT).

    The number is the sample's own. Patches of the last rectangle that is needed are taken at random.

    Args:
        grid: rows and columns of patches, N.
        probability: of masking the sample at all.
        ratio: least and most of its patches that are masked then.
    Returns: [B, N] bool, True where masked.
    """
    rows, columns = grid
    draws = _uniform(sample_id, 2 + 4 * BLOCKS, salt)  # [B, ...]
    share = ratio[0] + (ratio[1] - ratio[0]) * draws[:, 1]
    count = (share * rows * columns).round() * (draws[:, 0] < probability)  # [B]
    size, aspect, down, right = draws[:, 2:].unflatten(1, (4, BLOCKS)).unbind(1)  # [B, BLOCKS] each
    area = count[:, None] * (SMALLEST + (1 - SMALLEST) * size)
    stretch = (log(ASPECT) * (2 * aspect - 1)).exp()  # height over width
    heights, widths = ((area * x).sqrt().round() for x in (stretch, 1 / stretch))
    inside = _span(heights, down, rows)[..., None] & _span(widths, right, columns)[:, :, None]
    number = torch.arange(BLOCKS, device=sample_id.device)[:, None]
    first = torch.where(inside.flatten(2), number, BLOCKS).amin(1)  # [B, N] the first block that covers a patch
    bits = keyed_bits(sample_id, 2 + 4 * BLOCKS + torch.arange(rows * columns, device=sample_id.device), salt)
    order = ((bits & ((1 << 58) - 1)) + (first << 58)).argsort(dim=1, stable=True)
    return order.argsort(dim=1) < count[:, None]  # [B, N] rank of each patch


def _span(extent: Tensor, place: Tensor, side: int) -> Tensor:
    """Extents and places (of 0 to 1) [B, n] -> [B, n, side] bool, True inside."""
    extent = extent.clamp(1, side)
    start = (place * (side - extent + 1)).floor()[..., None]
    step = torch.arange(side, device=extent.device)
    return (step >= start) & (step < start + extent[..., None])


def _uniform(sample_id: Tensor, count: int, salt: int) -> Tensor:
    """[B] ids -> [B, count] float32 of 24 random bits, in [0, 1)."""
    bits = keyed_bits(sample_id, torch.arange(count, device=sample_id.device), salt)
    return (bits & 0xFFFFFF).float() * 2.0**-24


def draw_places(preferred: Tensor, allowed: Tensor, count: int, sample_id: Tensor, salt: int) -> Tensor:
    """`count` places of each sample at random, those that are not preferred last.

    Args:
        preferred, allowed: [B, N] bool; what is preferred is allowed, and `count` places or more are.
    Returns: [B, count] int64, in order.
    """
    bits = keyed_bits(sample_id, torch.arange(allowed.shape[1], device=allowed.device), salt)  # [B, N]
    drawn = (bits & ((1 << 60) - 1)) + ((~preferred).long() << 60) + ((~allowed).long() << 61)
    return drawn.argsort(dim=1, stable=True)[:, :count].sort(dim=1).values
