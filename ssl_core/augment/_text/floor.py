"""What a text says without any encoder: how often each of its short runs of tokens occurs.

Shapes: B texts, T tokens.
"""

from typing import TYPE_CHECKING

from ssl_core.noise import keyed_bits
from ssl_core.tokenizers.base import NUM_SPECIAL

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 2048
LONGEST = 3
_SALT = 0xF100A


def hashed_grams(ids: "Tensor") -> "Tensor":
    """[B, T] ids -> [B, WIDTH] float32: log(1 + count) of the 1-, 2- and 3-grams, hashed into buckets.

    Of bytes they are runs of characters, of subwords about words. Without weights for rare ones (idf): these would
    have to be fitted on train.
    """
    ids = ids.long()
    counts = ids.new_zeros((len(ids), WIDTH), dtype=ids.float().dtype)
    column = ids.new_zeros(1)
    for size in range(1, LONGEST + 1):
        windows = ids.unfold(1, size, 1) if ids.shape[1] >= size else ids.new_zeros((len(ids), 0, size))  # [B, G, size]
        key = windows[..., 0]
        for place in range(1, size):
            key = key * 1_000_003 + windows[..., place]  # wraps
        bucket = keyed_bits(key.reshape(-1), column, _SALT + size).reshape(key.shape) & (WIDTH - 1)  # [B, G]
        counts.scatter_add_(1, bucket, (windows >= NUM_SPECIAL).all(-1).to(counts.dtype))
    return counts.log1p()
