"""Perceptual hashes: 64 bits that barely change when a picture is resized, recompressed or slightly recolored.

Two pictures a few bits apart look alike: how copies of test pictures among the training shards are found without any
encoder. Pictures without structure (all one color) hash to one value whatever their color: check those by eye.

NumPy and OpenCV only: it runs in Ray Data's processes, on CPUs. B pictures.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs._image.opencv import cv2
from ssl_core.codecs._image.resize import Image, image_shapes

_BLOCK = 1 << 22  # pairs compared at once: 32 MB
_SIDE = 32  # what the cosine transform sees


def perceptual_hash(images: Sequence[Image]) -> NDArray[np.uint64]:
    """One hash per picture: B pictures of any size -> [B] uint64.

    The signs, against their median, of the 8 x 8 lowest frequencies of a 32 x 32 gray picture (pHash; Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions", section 3.2.1).

    Args:
        images: [H, W, 3] uint8 each.
    Raises:
        ValueError: an image of another shape or type.
    """
    image_shapes(images)
    found = np.zeros((len(images), 64), np.bool_)
    for image, into in zip(images, found, strict=True):
        into[:] = _bits(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).ravel()
    return np.packbits(found, axis=1).view(">u8")[:, 0].astype(np.uint64)


def nearest_hashes(
    queries: NDArray[np.uint64], keys: NDArray[np.uint64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The k keys that differ in the fewest bits from each query, nearest first, of equals the first row first.

    Compared in blocks of flat memory.

    Args:
        queries: [M] uint64.
        keys: [N] uint64.
        k: at most N.
    Returns: [M, k] bits that differ and [M, k] row of the keys.
    Raises:
        ValueError: fewer than k keys.
    """
    if len(keys) < k:
        raise ValueError(f"there are {len(keys)} keys, fewer than the {k} asked for")
    bits, found = np.empty((2, len(queries), k), np.int64)
    rows = max(1, _BLOCK // max(len(keys), 1))
    for first in range(0, len(queries), rows):
        part = slice(first, first + rows)
        distance = np.bitwise_count(queries[part, None] ^ keys)  # [rows, N] uint8
        for place in range(k):  # a few passes of argmin are far faster than one partition
            nearest = distance.argmin(axis=1)[:, None]  # [rows, 1]
            bits[part, place] = np.take_along_axis(distance, nearest, axis=1)[:, 0]
            found[part, place] = nearest[:, 0]
            np.put_along_axis(distance, nearest, 255, axis=1)
    return bits, found


def _bits(gray: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """[H, W] -> [8, 8]."""
    small = cv2.resize(gray, (_SIDE, _SIDE), interpolation=_filter(gray)).astype(np.float32)
    low = cv2.dct(small)[:8, :8]  # [8, 8]; the first is the mean brightness, which the median ignores
    return np.asarray(low > np.median(low))


def _filter(gray: NDArray[np.uint8]) -> int:
    """Average where a picture shrinks: only then do two sizes of one picture give the same cells."""
    return int(cv2.INTER_AREA if min(gray.shape) >= _SIDE else cv2.INTER_LINEAR)
