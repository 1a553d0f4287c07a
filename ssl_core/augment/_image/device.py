"""Jitter, gray, blur and solarize as batched torch operations on the training device.

The draws are those of the data path in mode: fused, which works image by image with OpenCV, and so are the results, up
to a level here and there (test_augment_device.py): the order of steps is the same, and each ends in whole levels.

Shapes: B samples, n of them changed at a time, S side of a view, K length of the longest kernel.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ssl_core.augment._image.blur import blur_kernels, kernel_size
from ssl_core.augment._image.color_draws import ColorDraws
from ssl_core.augment._image.color_matrix import color_matrices

_STEPS = 1024
"""OpenCV multiplies 8-bit pixels by whole numbers of 1/1024. The same is done here: such sums are exact in float32 in
any order, so they are the same on every device and in every batch."""


def distorted(view: Tensor, color: ColorDraws, solarize_threshold: int) -> Tensor:
    """Jitter, gray, blur and solarize: a batch of views -> a new batch, on the same device.

    Args:
        view: [B, S, S, 3] uint8, as a chain returns them.
        color: parameters of the B samples.
        solarize_threshold: values at or above it are inverted, 0..256.
    Returns: [B, S, S, 3] uint8, C-contiguous.
    """
    levels = view.movedim(-1, 1).clone(memory_format=torch.contiguous_format)  # [B, 3, S, S] uint8
    _recolor_(levels, color)
    rows, length = np.flatnonzero(color.blurs), kernel_size(view.shape[1])
    if length > 1:
        _change_(levels, rows, _blurred, blur_kernels(color.sigma[rows], length))
    _change_(levels, np.flatnonzero(color.solarizes), lambda part: _solarized(part, solarize_threshold))
    return levels.movedim(1, -1).contiguous()  # [B, S, S, 3]


def _recolor_(levels: Tensor, color: ColorDraws) -> None:
    """Jitter and gray as one matrix per image."""
    # The offset is linear in the image's means. Its slopes travel, so nothing waits for means that are on the device.
    zeros = np.zeros((len(levels), 3))
    maps = [color_matrices(color, zeros + unit) for unit in np.eye(3)]  # three of [B, 3, 4]
    matrix, slopes = maps[0][:, :, :3], np.stack([each[:, :, 3] for each in maps], axis=2)  # [B, 3, 3] each
    rows = np.flatnonzero(color.jitters | color.grays)
    _change_(levels, rows, _mapped, matrix[rows], slopes[rows])


def _change_(
    levels: Tensor, rows: NDArray[np.int64], change: Callable[..., Tensor], *given: NDArray[np.float32]
) -> None:
    """Replace the samples `rows` [n] by what `change` makes of them and their rows of `given`, [n, ...] each."""
    if len(rows):
        index, *there = (torch.from_numpy(x).to(levels.device, non_blocking=True) for x in (rows, *given))
        levels.index_copy_(0, index, change(levels.index_select(0, index), *there))


def _mapped(part: Tensor, matrix: Tensor, slopes: Tensor) -> Tensor:
    means = part.sum(dim=(2, 3)).float() / (part.shape[2] * part.shape[3])  # [n, 3], from whole sums
    offset = (slopes * means[:, None]).sum(dim=2, keepdim=True)  # [n, 3, 1]
    return _affine(part, torch.cat([matrix, offset], dim=2))


def _affine(part: Tensor, matrix: Tensor) -> Tensor:
    """RGB -> M RGB + b, clipped to 0..255; cv2.transform.

    Args:
        part: [n, 3, H, W] uint8.
        matrix: [n, 3, 4] float32, the matrix and, in the last column, the offset in levels.
    Returns: [n, 3, H, W] uint8.
    """
    pixels = part.float()
    weight = matrix[:, :, :3].mul(_STEPS).round_()[..., None, None]  # [n, 3, 3, 1, 1] whole numbers
    offset = matrix[:, :, 3].add(0.5).mul_(_STEPS).round_()[..., None, None]  # [n, 3, 1, 1]
    out = torch.empty_like(part)
    for channel in range(3):
        total = torch.addcmul(offset[:, channel], pixels[:, 0], weight[:, channel, 0])  # [n, H, W]
        total.addcmul_(pixels[:, 1], weight[:, channel, 1]).addcmul_(pixels[:, 2], weight[:, channel, 2])
        out[:, channel] = total.mul_(1 / _STEPS).floor_().clamp_(0, 255)
    return out


def _blurred(part: Tensor, kernels: Tensor) -> Tensor:
    """Rows, then columns; the borders are mirrored, and every plane has a kernel of its own, [n, K]."""
    per_plane = kernels.repeat_interleave(3, dim=0)  # [3n, K]
    margin = (kernels.shape[1] // 2,) * 4
    planes = F.pad(part.flatten(0, 1)[None].float(), margin, mode="reflect")  # [1, 3n, S + K - 1, S + K - 1]
    with torch.autocast(part.device.type, enabled=False):  # bf16 does not tell 256 levels apart
        planes = F.conv2d(planes, per_plane[:, None, None, :], groups=len(per_plane))  # [1, 3n, S + K - 1, S]
        planes = F.conv2d(planes, per_plane[:, None, :, None], groups=len(per_plane))  # [1, 3n, S, S]
    return planes.round_().clamp_(0, 255).byte().view_as(part)


def _solarized(part: Tensor, threshold: int) -> Tensor:
    return torch.where(part.short() >= threshold, 255 - part, part)  # as uint8, a threshold of 256 would be 0
