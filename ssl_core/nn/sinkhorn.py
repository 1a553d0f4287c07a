"""Assignments that use all prototypes alike (Sinkhorn & Knopp, 1967; Cuturi, 2013).

Shapes: B samples on this worker, K prototypes.
"""

import torch
from torch import Tensor

from ssl_core.optimize.collectives import gather

LEAST = 1e-30


@torch.no_grad()
def sinkhorn(scores: Tensor, *, temperature: float, iterations: int, counts: Tensor | None = None) -> Tensor:
    """Share the samples of all workers out over the prototypes, equally many to each (SwAV, eq. 3 to 5).

    Rows are exponentials of differences from their largest score, and scaled instead of divided: the authors'
    exp(score / temperature) overflows for scores beyond 88 temperatures, and each of their iterations writes the whole
    matrix four times, where a product with a vector only reads it.

    Args:
        scores: [B, K]; B may differ between workers.
        temperature: epsilon: lower is closer to one prototype for each sample.
        counts: [B] bool, False for rows that are no samples; what is returned for them means nothing. None: all are.
    Returns: [B, K] float32, rows that sum to 1.
    """
    with torch.autocast(scores.device.type, enabled=False):
        logits = scores.float() / temperature
        largest = logits.amax(1)  # [B]
        p = (logits - largest[:, None]).exp_()
        of_sample = (largest - gather(largest.max()[None]).max()).exp()  # [B] the scale that p has lost
        for _ in range(iterations):
            here = p.T @ (of_sample if counts is None else of_sample * counts)  # [K] sums over my samples
            sums = gather(here[None]).sum(0)  # [K]
            # a prototype that is next to nothing for all samples gets none, instead of a division by zero
            of_prototype = 1 / (sums / sums.mean().clamp_min(LEAST)).clamp_min(LEAST)
            of_sample = 1 / (p @ of_prototype)
        return p * of_prototype * of_sample[:, None]
