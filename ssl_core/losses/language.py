"""Losses of language models. Pure functions of tensors: sums and counts, since workers have unlike numbers of tokens.

Shapes: N tokens, D width, V vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

TILE_ELEMENTS = 1 << 22  # logits computed at once: 16 MB of float32; training keeps those of all tiles for backward


class Summed(NamedTuple):
    loss: Tensor  # [] float32, the sum over tokens
    correct: Tensor  # [] how many were the most likely id
    tokens: Tensor  # [] how many were scored


def token_nll(hidden: Tensor, output: Tensor, target: Tensor, counts: Tensor, bias: Tensor | None = None) -> Summed:
    """Negative log likelihood of ids in nats, logits computed tile by tile.

    Args:
        hidden: [N, D] what the network says at each token.
        output: [V, D] output weights.
        target: [N] int64 ids.
        counts: [N] bool; False: a token that is not scored.
        bias: [V] of the logits, or None.
    """
    target = torch.where(counts, target, -100)
    loss, correct = hidden.new_zeros((), dtype=torch.float32), counts.new_zeros((), dtype=torch.int64)
    height = max(1, TILE_ELEMENTS // len(output))
    for rows, ids in zip(hidden.split(height), target.split(height), strict=True):
        logits = linear(rows, output, bias).float()  # [tile, V]
        loss = loss + cross_entropy(logits, ids, reduction="sum")
        correct = correct + (logits.detach().argmax(1) == ids).sum()
    return Summed(loss, correct, counts.sum())
