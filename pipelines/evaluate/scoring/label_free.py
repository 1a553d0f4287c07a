"""Label-free health of a frozen encoder: what its features of the test split, and of several views of a sample, show.

They warn; they do not rank encoders unless a campaign has shown that they do.

Shapes: M test samples, n of them in V training views each, D feature width.
"""

from math import isfinite

import torch
from torch import Tensor

from ssl_core.measures.gauges import alignment, feature_std, rankme, uniformity
from ssl_core.measures.health import alpha_req, lidar, norm_outliers

PAIRED = 10_000
"""Samples, spread over the split, whose pairs uniformity compares: its time grows with their square."""
LISTED = 20


def of_features(z: Tensor, views: Tensor | None) -> dict[str, float]:
    """Every measure by name; what does not exist here (alpha-ReQ of a spectrum that has ended) is left out.

    Args:
        z: [M, D] features of the test split.
        views: [n, V, D] features of V training views of n test samples; None: no alignment and no LiDAR.
    """
    found = {"feature_std": feature_std(z).item(), "rankme": rankme(z).item(), "alpha_req": alpha_req(z).item()}
    some = z[:: -(-len(z) // PAIRED)]  # [m, D]
    if len(some) > 1:
        found["uniformity"] = uniformity(some).item()
    if views is not None and len(views) > 1:
        found["alignment"] = alignment(views[:, 0], views[:, 1]).item()
        found["lidar"] = lidar(views).item()
    found["norm_outliers"] = float(norm_outliers(z).sum())
    return {name: value for name, value in found.items() if isfinite(value)}


def outliers(z: Tensor, sample_id: Tensor) -> tuple[int, ...]:
    """Ids of the samples whose features are unusually long or short, the oddest first, at most 20.

    Args:
        z: [M, D]; sample_id: [M].
    """
    length = z.float().norm(dim=1)  # [M]
    odd = torch.where(norm_outliers(z), (length - length.median()).abs(), -1.0)  # [M]
    order = odd.argsort(descending=True, stable=True)[:LISTED]
    return tuple(sample_id[order[odd[order] >= 0]].tolist())
