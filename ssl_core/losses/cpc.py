"""Contrastive prediction of patches below (CPC: van den Oord et al., 2018). Pure functions of tensors.

Shapes: B samples on this worker, G samples on all workers, h x w patches of an image, D width.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def rows_below(predicted: Tensor, candidates: Tensor, *, ahead: int, first: int) -> Tensor:
    """Tell the patch `ahead` rows below among the patches of all images (CPC v2, appendix: its listing).

    Args:
        predicted: [B, h, w, D] of each patch: what is expected below it; the last `ahead` rows have nothing there.
        candidates: [G, h, w, D] of all patches of the global batch; on one worker G = B.
        ahead: rows, from 1 to h - 1.
        first: the row of `candidates` that is the image of predicted[0]; the others follow.
    Returns: [] float32 mean over the patches that have one below. Products are not normalized: scale them before.
    """
    count, height, width, _ = predicted.shape
    with torch.autocast(predicted.device.type, enabled=False):
        queries = predicted[:, : height - ahead].float().flatten(0, 2)  # [B (h - ahead) w, D]
        logits = queries @ candidates.float().flatten(0, 2).T  # [..., G h w]
        place = torch.arange(height * width, device=logits.device)[ahead * width :]  # of the patches below
        image = first + torch.arange(count, device=logits.device)
        return cross_entropy(logits, (image[:, None] * (height * width) + place).flatten())
