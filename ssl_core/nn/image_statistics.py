"""What an image says of itself: color histograms, directions of edges, texture. Of views as the encoder sees them.

Shapes: B samples, C channels, A attributes.
"""

from math import pi

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

LOWEST, HIGHEST = -2.2, 2.7
"""Of views normalized by ImageNet's mean and deviation, about."""
SCALES = (1, 2, 4)
"""Pixels over which a view is averaged before its texture is measured."""


def num_attributes(channels: int, color_bins: int, edge_bins: int) -> int:
    return channels * color_bins + edge_bins + 2 * len(SCALES)


def attributes(view: Tensor, color_bins: int, edge_bins: int) -> Tensor:
    """[B, C, H, W] normalized views -> [B, A]: color and edge histograms, contrast and sharpness at three scales."""
    return torch.cat([color_histogram(view, color_bins), edge_histogram(view, edge_bins), texture(view)], dim=1)


def color_histogram(view: Tensor, bins: int) -> Tensor:
    """Share of pixels by level, each pixel shared out between the two nearest bins: [B, C, H, W] -> [B, C * bins]."""
    level = ((view - LOWEST) / (HIGHEST - LOWEST)).clamp(0, 1) * (bins - 1)  # [B, C, H, W]
    place = torch.arange(bins, device=view.device)
    weight = (1 - (level.flatten(2)[..., None] - place).abs()).clamp_min(0)  # [B, C, H * W, bins]
    return weight.mean(2).flatten(1)


def edge_histogram(view: Tensor, bins: int) -> Tensor:
    """Share of gradient by direction (Dalal & Triggs, 2005), zero in a flat image: [B, C, H, W] -> [B, bins]."""
    gray = view.mean(1, keepdim=True)
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=view.device)
    across, down = conv2d(gray, torch.stack([sobel, sobel.T])[:, None]).flatten(2).unbind(1)  # [B, n] each
    strength = (across.square() + down.square()).sqrt()
    direction = torch.atan2(down, across).remainder(pi) / pi * bins  # [B, n] in 0..bins
    place = torch.arange(bins, device=view.device)
    apart = (direction[..., None] - place).abs()
    weight = (1 - torch.minimum(apart, bins - apart)).clamp_min(0)  # [B, n, bins], around the circle
    return (weight * strength[..., None]).sum(1) / strength.sum(1, keepdim=True).clamp_min(1e-6)


def texture(view: Tensor) -> Tensor:
    """Contrast and sharpness, deviations of pixels and of neighbors' differences, at each scale: -> [B, 6]."""
    found, gray = [], view.mean(1, keepdim=True)
    for scale in SCALES:
        coarse = avg_pool2d(gray, min(scale, *gray.shape[2:]))
        steps = coarse.diff(dim=3).square().flatten(1).mean(1) if coarse.shape[3] > 1 else coarse.new_zeros(len(view))
        found += [coarse.flatten(1).std(1, correction=0), steps.sqrt()]
    return torch.stack(found, dim=1)
