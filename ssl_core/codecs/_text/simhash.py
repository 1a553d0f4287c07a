"""Near copies of texts by their 5-grams (Charikar 2002, "Similarity estimation techniques from rounding algorithms").

Shapes: B texts, T tokens, G 5-grams.
"""

import numpy as np
from numpy.typing import NDArray

from ssl_core.noise import keyed_bits
from ssl_core.tokenizers.base import PAD

GRAM = 5
_BUCKETS = 1 << 14
_SALT = 0x51A54


def simhash(ids: NDArray[np.integer]) -> NDArray[np.uint64]:
    """[B, T] ids, padded with PAD -> [B]: each bit is what most of the text's 5-grams have there."""
    found = np.zeros((len(ids), 64), np.bool_)
    for row, into in zip(ids, found, strict=True):
        bits = np.unpackbits(_grams(row).view(np.uint8).reshape(-1, 8), axis=1)  # [G, 64]
        into[:] = 2 * bits.sum(axis=0, dtype=np.int64) > len(bits)
    return np.packbits(found, axis=1).view(">u8")[:, 0].astype(np.uint64)


def gram_cosine(a: NDArray[np.integer], b: NDArray[np.integer]) -> NDArray[np.float32]:
    """[B, T] and [B, T] ids -> [B] in [0, 1]: cosine of the counts of their 5-grams."""
    both = zip(map(_counts, a), map(_counts, b), strict=True)
    return np.array([x @ y / np.sqrt((x @ x) * (y @ y)) for x, y in both], np.float32).reshape(len(a))


def _counts(row: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.bincount(_grams(row) & (_BUCKETS - 1), minlength=_BUCKETS).astype(np.float64)


def _grams(row: NDArray[np.integer]) -> NDArray[np.int64]:
    """64 random bits per 5-gram of one text [T]; a shorter text is a gram of its own."""
    ids = row[row != PAD].astype(np.int64)
    ids = np.pad(ids, (0, max(0, GRAM - len(ids))))
    windows = np.lib.stride_tricks.sliding_window_view(ids, GRAM)  # [G, 5]
    place = 1_000_003 ** np.arange(GRAM, dtype=np.int64)  # below 2^63 for ids of any vocabulary, or it wraps
    return np.ascontiguousarray(keyed_bits((windows * place).sum(axis=1), np.zeros(1, np.int64), _SALT)[:, 0])
