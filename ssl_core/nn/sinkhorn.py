"""Assignments that use all prototypes alike (Sinkhorn & Knopp, 1967; Cuturi, 2013).

Shapes: B samples on this worker, K prototypes.
"""

import torch
from torch import Tensor

from ssl_core.optimize.collectives import gather


@torch.no_grad()
def sinkhorn(scores: Tensor, *, temperature: float, iterations: int, counts: Tensor | None = None) -> Tensor:
    """Share the samples of all workers out over the prototypes, equally many to each (SwAV, eq. 3 to 5).

    In logarithms, where each sum subtracts its largest term: the authors' exp(score / temperature) overflows for scores
    beyond 88 temperatures, and a prototype that is far from all samples would divide by zero.

    Args:
        scores: [B, K]; B may differ between workers.
        temperature: epsilon: lower is closer to one prototype for each sample.
        counts: [B] bool, False for rows that are no samples; what is returned for them means nothing. None: all are.
    Returns: [B, K] float32, rows that sum to 1.
    """
    with torch.autocast(scores.device.type, enabled=False):
        log_q = scores.float() / temperature
        # finite, so that a worker without samples has sums that are next to nothing instead of not a number
        left_out = 0.0 if counts is None else torch.where(counts, 0.0, -1e30)[:, None]  # [B, 1]
        for _ in range(iterations):
            here = torch.logsumexp(log_q + left_out, dim=0)  # [K]
            log_q = log_q - torch.logsumexp(gather(here[None]), dim=0)
            log_q = log_q - torch.logsumexp(log_q, dim=1, keepdim=True)
        return log_q.exp()
