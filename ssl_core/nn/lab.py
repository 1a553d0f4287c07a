"""CIE L*a*b* of normalized views and back: lightness apart from color, with distances as people see them.

sRGB primaries and gamma (IEC 61966-2-1), white point D65. Shapes: B samples.
"""

import torch
from torch import Tensor

from ssl_core.augment._image.base import MEAN, STD

TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)
EPSILON = 0.008856  # below it the cube root becomes a straight line
GRAY = (0.299, 0.587, 0.114)  # of the chains' own gray (ITU-R BT.601)


def to_lab(view: Tensor) -> Tensor:
    """[B, 3, H, W] normalized RGB -> [B, 3, H, W] float32: L of 0 to 100, a and b of about -100 to 100."""
    rgb = _levels(view).clamp(0, 1)
    linear = torch.where(rgb > 0.04045, ((rgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("ij,bjhw->bihw", _constant(TO_XYZ, view), linear) / _channels(WHITE, view)
    f = torch.where(xyz > EPSILON, xyz.clamp_min(EPSILON) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def from_lab(lab: Tensor) -> Tensor:
    """The inverse of `to_lab`; colors that no screen has are clipped."""
    light, a, b = lab.float().unbind(1)
    y = (light + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    xyz = torch.where(f**3 > EPSILON, f**3, (f - 16 / 116) / 7.787) * _channels(WHITE, lab)
    linear = torch.einsum("ij,bjhw->bihw", _constant(TO_XYZ, lab).inverse(), xyz).clamp(0, 1)
    rgb = torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)
    return (rgb * 255 - _channels(MEAN, lab)) / _channels(STD, lab)


def gray_of(view: Tensor) -> Tensor:
    """[B, 3, H, W] normalized RGB -> the same picture without color, still of three channels."""
    gray = (_levels(view) * _channels(GRAY, view)).sum(1, keepdim=True)  # [B, 1, H, W]
    return ((gray * 255 - _channels(MEAN, view)) / _channels(STD, view)).to(view.dtype)


def _levels(view: Tensor) -> Tensor:
    """Normalized views -> levels of about 0 to 1, float32."""
    return (view.float() * _channels(STD, view) + _channels(MEAN, view)) / 255


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return _constant(values, like)[:, None, None]


def _constant(values: tuple[float, ...] | tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)
