"""Cross entropy between what a teacher says of one view and a student of another. Pure functions.

Shapes: T teacher's views, V student's views, B samples, N patches, K prototypes.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


def across_views(targets: Tensor, logits: Tensor, *, temperature: float) -> Tensor:
    """Predict the assignment of each teacher's view from every other view (DINO, eq. 3; SwAV, eq. 2 and section 3.3).

    Args:
        targets: [T, B, K] probabilities, of the first T of the V views.
        logits: [V, B, K] scores of the student.
    Returns: [] float32 mean over samples and all pairs of a target and another view; a view is not its own target.
    """
    with torch.autocast(logits.device.type, enabled=False):  # bf16 logits over 0.1 would be off by hundredths
        log_p = log_softmax(logits.float() / temperature, dim=-1)  # [V, B, K]
        pairs = -torch.einsum("tbk,vbk->tv", targets.float(), log_p)  # [T, V] sums over samples
        others = ~torch.eye(*pairs.shape, dtype=torch.bool, device=pairs.device)
        return (pairs * others).sum() / (len(targets) * (len(logits) - 1) * logits.shape[1])


def masked_patches(targets: Tensor, logits: Tensor, mask: Tensor, *, temperature: float) -> Tensor:
    """Predict the assignment of masked patches from the rest of the view (iBOT, eq. 2).

    Args:
        targets, logits: [B, N, K] probabilities of the teacher, who sees all patches, and scores of the student.
        mask: [B, N] bool, True where the student saw none; samples may have no masked patch.
    Returns: [] float32 mean over samples of the mean over a sample's masked patches, 0 where it has none.
    """
    with torch.autocast(logits.device.type, enabled=False):
        log_p = log_softmax(logits.float() / temperature, dim=-1)  # [B, N, K]
        patches = -(targets.float() * log_p).sum(-1) * mask  # [B, N]
        return (patches.sum(1) / mask.sum(1).clamp(min=1)).mean()
