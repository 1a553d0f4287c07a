"""Which tokens a masked method hides.

Shapes: B samples, N tokens, K kept, M hidden, D width.
"""

import torch
from torch import Tensor

from ssl_core.noise import keyed_bits


def random_split(sample_id: Tensor, count: int, ratio: float, salt: int) -> tuple[Tensor, Tensor]:
    """Split the tokens of each sample at random, the same way on any worker (MAE, section 3: uniform sampling).

    Args:
        sample_id: [B] int64.
        count: N, tokens per sample, at least 2.
        ratio: share to hide; at least one token is hidden and one kept.
        salt: from ssl_core.noise.salt; another salt gives another split.
    Returns: kept [B, K] and hidden [B, M] token indices, N = K + M, both in random order.
    """
    columns = torch.arange(count, device=sample_id.device)
    order = keyed_bits(sample_id, columns, salt).argsort(dim=1, stable=True)  # [B, N]
    num_hidden = min(max(round(ratio * count), 1), count - 1)
    return order[:, num_hidden:], order[:, :num_hidden]


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """tokens [B, N, D], index [B, K] -> [B, K, D]."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def put(tokens: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """A copy of tokens [B, N, D] with rows index [B, M] replaced by values [B, M, D]."""
    return tokens.scatter(1, index[..., None].expand(-1, -1, tokens.shape[-1]), values.to(tokens.dtype))
