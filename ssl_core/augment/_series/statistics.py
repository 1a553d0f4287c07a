"""What a series says without an encoder. Torch, on the device of the views; imported by chains without it.

Shapes: B samples, C channels, L steps.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
BANDS = 8
_LEAST = 1e-8


def statistics(view: "Tensor") -> "Tensor":
    """Each channel's mean, deviation, five quantiles, slope over the view, log energies of eight bands from one cycle
    a view up, and share missing: [B, C, L], NaN where missing -> [B, 17 C]."""
    import torch

    known = ~view.isnan()
    count = known.sum(-1, keepdim=True)  # [B, C, 1]
    some = count.clamp_min(1)
    mean = view.nan_to_num(nan=0.0).sum(-1, keepdim=True) / some
    centered = (view - mean).nan_to_num(nan=0.0)  # [B, C, L]
    std = (centered.square().sum(-1, keepdim=True) / some).sqrt()
    place = torch.linspace(-0.5, 0.5, view.shape[-1], device=view.device).expand_as(view) * known
    place = (place - place.sum(-1, keepdim=True) / some) * known
    slope = (place * centered).sum(-1, keepdim=True) / place.square().sum(-1, keepdim=True).clamp_min(_LEAST)
    missing = 1 - count / view.shape[-1]
    found = [mean, std, _quantiles(view, count), slope, _bands(centered), missing]
    return torch.cat([part.float() for part in found], dim=-1).flatten(1)


def _quantiles(view: "Tensor", count: "Tensor") -> "Tensor":
    """[B, C, L] -> [B, C, 5] of what is not missing, interpolated linearly."""
    ordered = view.sort(dim=-1).values  # NaN last
    place = (count - 1).clamp_min(0) * view.new_tensor(QUANTILES)  # [B, C, 5]
    low = place.floor().long()
    high = place.ceil().long()
    below, above = ordered.gather(-1, low), ordered.gather(-1, high)
    return (below + (above - below) * (place - low)).nan_to_num(nan=0.0)


def _bands(centered: "Tensor") -> "Tensor":
    """[B, C, L] -> [B, C, 8]: log energies of the spectrum, bands evenly wide in log frequency."""
    import torch

    length = centered.shape[-1]
    energy = torch.fft.rfft(centered, dim=-1)[..., 1:].abs().square() / length**2  # [B, C, L // 2]
    half = energy.shape[-1]
    if half == 0:
        return centered.new_zeros(*centered.shape[:-1], BANDS)
    cycles = torch.arange(1, half + 1, device=centered.device).float()
    band = (cycles.log() / max(torch.tensor(float(half + 1)).log().item(), _LEAST) * BANDS).long().clamp_max(BANDS - 1)
    sums = centered.new_zeros(*centered.shape[:-1], BANDS).index_add_(-1, band, energy)
    return (sums + _LEAST).log()
