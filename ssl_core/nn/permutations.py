"""Permutations that are easy to tell apart: of large Hamming distance (Noroozi & Favaro, 2016, algorithm 1)."""

from itertools import permutations

import numpy as np
from numpy.typing import NDArray


def far_apart(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` permutations of range(length), each as far as can be from those before.

    Greedy, from the identity on: the next one has the largest of its smallest distances; of several the first in
    lexicographic order.

    Returns: [n, length] with n = min(count, length!).
    """
    known = np.array(list(permutations(range(length))), np.int8)  # [length!, length]
    nearest = np.full(len(known), length + 1, np.int8)
    chosen = [0]
    for _ in range(min(count, len(known)) - 1):
        nearest = np.minimum(nearest, (known != known[chosen[-1]]).sum(axis=1).astype(np.int8))
        chosen.append(int(nearest.argmax()))
    return known[chosen].astype(np.int64)
