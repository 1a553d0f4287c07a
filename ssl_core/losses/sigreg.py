"""SIGReg: how far features are from an isotropic Gaussian, by random projections (LeJEPA: Balestriero & LeCun, 2025).

https://arxiv.org/abs/2511.08544. Pure functions of tensors. Shapes: G samples, D width, S projections, T points.
"""

import torch
from torch import Tensor

POINTS, LARGEST = 17, 5.0
"""Of the integral over the characteristic function, from -LARGEST to LARGEST (algorithm 1)."""


def epps_pulley(cosines: Tensor, sines: Tensor, count: int) -> Tensor:
    """The Epps-Pulley statistic of samples against N(0, 1), by their characteristic function.

    Args:
        cosines, sines: [..., T], means over samples of cos(t x) and sin(t x) at the points of `points`.
        count: how many samples.
    Returns: [...] count times the integral of |phi - exp(-t^2 / 2)|^2 under the same Gaussian window, by trapezoids.
    """
    t = points(cosines.device)
    wanted = (-t.square() / 2).exp()
    error = (cosines - wanted).square() + sines.square()
    return count * torch.trapezoid(error * wanted, t, dim=-1)


def points(device: torch.device) -> Tensor:
    """[T] where the characteristic function is compared."""
    return torch.linspace(-LARGEST, LARGEST, POINTS, device=device)


def characteristic(z: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """The real and the imaginary part of the empirical characteristic function of projections.

    Args:
        z: [G, D].
        directions: [D, S] unit columns.
    Returns: [S, T] each, means over G.
    """
    with torch.autocast(z.device.type, enabled=False):
        angle = (z.float() @ directions).unsqueeze(-1) * points(z.device)  # [G, S, T]
        return angle.cos().mean(0), angle.sin().mean(0)
