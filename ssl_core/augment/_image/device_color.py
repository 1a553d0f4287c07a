"""Color operations on [n, 3, H, W] uint8 tensors, each image with an amount of its own: `_color` for whole batches.

OpenCV multiplies 8-bit pixels by whole numbers of 1/1024 (matrices), 1/32768 (gray) and 1/4096 (HSV). The same is
done here: such sums are exact in float32 in any order, so they are the same on every device and in every batch.
"""

import torch
from torch import Tensor

from ssl_core.augment._image.color import LUMA

_STEPS = 1024
_GRAY = (9798, 19235, 3735)  # of 32768
_HSV_STEPS = 4096
_TRUNCATE = -0.499  # as in _color: rounding of a little less truncates, and keeps whole numbers


def affine(part: Tensor, matrix: Tensor) -> Tensor:
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


def channel_means(part: Tensor) -> Tensor:
    """[n, 3, H, W] uint8 -> [n, 3] float32, from whole sums."""
    return part.sum(dim=(2, 3)).float() / (part.shape[2] * part.shape[3])


def brightness(part: Tensor, factor: Tensor) -> Tensor:
    """Multiply by `factor` [n]."""
    return _levels(part * _per_image(factor) + _TRUNCATE)


def contrast(part: Tensor, factor: Tensor) -> Tensor:
    """Move away from (factor > 1) or towards (factor < 1) the mean gray of each image."""
    red, green, blue = channel_means(part).unbind(1)  # [n] each
    mean_gray = red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]
    return _levels(part * _per_image(factor) + _per_image((1 - factor) * mean_gray + _TRUNCATE))


def saturation(part: Tensor, factor: Tensor) -> Tensor:
    """Move away from (factor > 1) or towards (factor < 1) each pixel's own gray."""
    row = torch.stack([(1 - factor) * weight for weight in LUMA] + [torch.full_like(factor, _TRUNCATE)], dim=1)
    return affine(part, row[:, None] + factor[:, None, None] * torch.eye(3, 4, device=factor.device))  # [n, 3, 4]


def hue(part: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue of HSV by `turns` [n] of the full circle, in steps of 1/256; no step, no change."""
    shift = turns.mul(256).round_().remainder_(256)[:, None, None]  # [n, 1, 1]
    pixels = part.float()
    red, green, blue = pixels.unbind(1)  # [n, H, W] each
    value = pixels.amax(dim=1)
    span = value - pixels.amin(dim=1)
    sixths = torch.where(value == green, blue - red + 2 * span, red - green + 4 * span)
    sixths = torch.where(value == red, green - blue, sixths)  # hue in sixths of the circle, times span
    angle = _whole(sixths * (256 * _HSV_STEPS / 6 / span.clamp(min=1)).round_()).add_(shift).remainder_(256)
    share = _whole(span * (255 * _HSV_STEPS / value.clamp(min=1)).round_()).div_(255)  # saturation, 0..1
    out = torch.empty_like(part)
    for channel, start in enumerate((5, 3, 1)):
        sector = angle.mul(6 / 255).add_(start).remainder_(6)  # OpenCV's way back has 255 hues
        out[:, channel] = (value - value * share * torch.minimum(sector, 4 - sector).clamp_(0, 1)).round_()
    return torch.where(shift[:, None] == 0, part, out)


def gray(part: Tensor) -> Tensor:
    """Replace the three channels by gray."""
    red, green, blue = part.float().unbind(1)  # [n, H, W] each
    total = red * _GRAY[0] + green * _GRAY[1] + blue * _GRAY[2]
    return total.add_(0.5 * sum(_GRAY)).div_(sum(_GRAY)).floor_().byte()[:, None].expand_as(part)


JITTER = (brightness, contrast, saturation, hue)
"""The four operations of color jitter, in the order of ColorDraws.amount."""


def _whole(steps: Tensor) -> Tensor:
    """Numbers of 1/4096 to the nearest whole number, halves up."""
    return steps.div_(_HSV_STEPS).add_(0.5).floor_()


def _levels(pixels: Tensor) -> Tensor:
    return pixels.round_().clamp_(0, 255).byte()


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]  # [n, 1, 1, 1]
