"""Spread of a batch over the sphere (Sablayrolles et al., 2019, https://arxiv.org/abs/1806.03198). Pure functions.

Shapes: B samples on this worker, G samples on all workers, D width.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize, pairwise_distance


def koleo(x: Tensor, all_x: Tensor, *, first: int) -> Tensor:
    """Kozachenko and Leonenko's estimate of negative entropy: minus the log distance to the nearest neighbor (eq. 2).

    Args:
        x: [B, D] vectors of this worker's samples, one per sample: views of one sample would repel each other.
        all_x: [G, D] the same for the global batch, at least two; on one worker G = B.
        first: the row of all_x that is x[0]; the others follow.
    Returns: [] float32 mean over the B samples, each scaled to a unit vector.
    """
    with torch.autocast(x.device.type, enabled=False):  # near neighbors differ by less than bf16 tells
        x, all_x = normalize(x.float(), dim=1, eps=1e-8), normalize(all_x.float(), dim=1, eps=1e-8)
        with torch.no_grad():
            rows = first + torch.arange(len(x), device=x.device)
            nearest = (x @ all_x.T).scatter(1, rows[:, None], -2.0).argmax(1)  # [B], not itself
        # epsilons as in the authors' code: equal vectors have a finite loss and a gradient
        return -(pairwise_distance(x, all_x[nearest], eps=1e-8) + 1e-8).log().mean()
