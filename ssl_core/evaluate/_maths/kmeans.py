"""k-means with k-means++ starts (Arthur & Vassilvitskii 2007), several restarts as one batched tensor program.

Shapes: N samples, D feature width, K clusters, R restarts.
"""

import numpy as np
import torch
from torch import Tensor

from ssl_core.noise import keyed_uniform, salt

_BLOCK = 1 << 24  # similarities held at once: 64 MB of float32


def kmeans(x: Tensor, num_clusters: int, seed: int, *, restarts: int = 4, max_steps: int = 50) -> Tensor:
    """Centers of the restart with the least squared distance: [N, D] float32 -> [K, D].

    A cluster that loses all its samples keeps its center. Every draw is keyed by `seed`.

    Args:
        num_clusters: K <= N.
        max_steps: Lloyd's steps at most; each restart ends once no sample changes its cluster.
    """
    centers = _starts(x, num_clusters, seed, restarts)  # [R, K, D]
    before, _ = _nearest(x, centers)  # [R, N]
    moving = torch.arange(restarts, device=x.device)
    for _ in range(max_steps):
        centers[moving] = _means(x, before[moving], centers[moving])
        after, _ = _nearest(x, centers[moving])
        changed = (after != before[moving]).any(dim=1)
        before[moving] = after
        moving = moving[changed]
        if not len(moving):
            break
    _, distance = _nearest(x, centers)  # [R, N]
    return centers[int(distance.double().sum(dim=1).argmin())]


def assigned(x: Tensor, centers: Tensor) -> Tensor:
    """[N] int64: the nearest of [K, D] centers to each row of [N, D]; of equals the first."""
    return _nearest(x, centers[None])[0][0]


def _starts(x: Tensor, num_clusters: int, seed: int, restarts: int) -> Tensor:
    """[R, K, D]: the first center is any sample, each next one far from those before with a chance ~ distance^2."""
    ids = np.arange(restarts, dtype=np.int64)
    draws = torch.from_numpy(keyed_uniform(ids, num_clusters, salt(seed))).to(x.device)  # [R, K] in [0, 1)
    chosen = (draws[:, 0] * len(x)).long()  # [R]
    centers = x.new_empty(restarts, num_clusters, x.shape[1])
    centers[:, 0] = x[chosen]
    squares = x.square().sum(dim=1)  # [N]
    far = torch.full((restarts, len(x)), torch.inf, device=x.device)  # [R, N] squared distance to the nearest center
    for k in range(1, num_clusters):
        last = centers[:, k - 1]  # [R, D]
        distance = squares + last.square().sum(dim=1, keepdim=True) - 2 * last @ x.mT  # [R, N]
        far = torch.minimum(far, distance.clamp_min(0))
        mass = far.double().cumsum(dim=1)  # [R, N]
        chosen = torch.searchsorted(mass, draws[:, k : k + 1] * mass[:, -1:], right=True)[:, 0]  # [R]
        centers[:, k] = x[chosen.clamp_max(len(x) - 1)]
    return centers


def _nearest(x: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest of [R, K, D] centers to each of [N, D] and its squared distance: [R, N] int64 and [R, N]."""
    restarts, num_clusters, _ = centers.shape
    flat = centers.flatten(0, 1)  # [R*K, D]
    offset = flat.square().sum(dim=1)  # [R*K]
    rows = max(1, _BLOCK // len(flat))
    found = [
        torch.addmm(offset, block, flat.mT, alpha=-2).unflatten(1, (restarts, num_clusters)).min(dim=2)
        for block in x.split(rows)
    ]
    distance = torch.cat([f.values for f in found]).mT + x.square().sum(dim=1)  # [R, N]
    return torch.cat([f.indices for f in found]).mT.contiguous(), distance.clamp_min(0)


def _means(x: Tensor, cluster: Tensor, centers: Tensor) -> Tensor:
    """[R, K, D]: the mean of each cluster's samples under [R, N] assignments; `centers` where there are none."""
    total = torch.zeros_like(centers)
    for one, into in zip(cluster, total, strict=True):
        into.index_add_(0, one, x)
    count = torch.stack([one.bincount(minlength=centers.shape[1]) for one in cluster])[..., None]  # [R, K, 1]
    return torch.where(count > 0, total / count.clamp_min(1), centers)
