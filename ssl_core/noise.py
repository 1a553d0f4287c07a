"""Random numbers keyed by sample, not by worker: the same run on 1 or 64 workers sees the same draws.

A draw is a pure function of (sample id, column, salt); `salt` folds in whatever else tells draws
apart: seed, epoch or step, view. The same code runs on NumPy arrays (Ray Data tasks, which never
import torch) and on tensors (masks drawn on the training device), bit for bit.
"""

from math import pi
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

A = TypeVar("A", NDArray[np.int64], "Tensor")

_SIGN, _24_BITS = 1 << 63, (1 << 24) - 1


def salt(*parts: int) -> int:
    """Fold integers (seed, epoch, view, ...) into one 63-bit salt; order matters."""
    folded = np.array([0x5E1F], dtype=np.int64)
    for part in parts:
        folded = _mix(folded ^ np.int64((part + _SIGN) % (1 << 64) - _SIGN))
    return int(folded[0]) & (_SIGN - 1)


def view_salt(seed: int, epoch: int, index: int) -> int:
    """The salt of view number `index` of the samples of an epoch, for a chain's `__call__`, `reduction` and `finish`.

    Views that are made once, for looks and evaluation, are those of epoch 0.
    """
    return salt(seed, epoch, index)


def keyed_bits(sample_id: A, column: A, salt: int) -> A:
    """Int64 bits per (sample, column).

    Args:
        sample_id: [B] int64.
        column: [C] int64, the index of each draw.
        salt: from `salt(...)`; another salt gives unrelated draws.
    Returns: [B, C] int64, uniform over all 2^64 values.
    """
    return _mix(_mix(sample_id ^ salt)[:, None] + column * -7046029254386353131)


def keyed_uniform(sample_id: NDArray[np.int64], count: int, salt: int) -> NDArray[np.float64]:
    """[B] ids -> [B, count] numbers in [0, 1) with 53 random bits each."""
    bits = keyed_bits(np.asarray(sample_id, np.int64), np.arange(count, dtype=np.int64), salt)
    return (bits & ((1 << 53) - 1)).astype(np.float64) * 2.0**-53


def keyed_normal(sample_id: "Tensor", count: int, salt: int) -> "Tensor":
    """[B] ids -> [B, count] standard normal float32 on the ids' device (Box & Muller, 1958, from 24-bit uniforms)."""
    if sample_id.is_meta:  # a module is only being checked: shapes suffice
        return sample_id.new_empty((len(sample_id), count)).float()
    pairs = (count + 1) // 2
    column = sample_id.new_ones(pairs).cumsum(0)  # [count / 2]
    bits = keyed_bits(sample_id, column, salt)  # [B, count / 2]
    distance = ((bits & 0xFFFFFF).float() + 0.5).mul_(2.0**-24).log_().mul_(-2).sqrt_()
    angle = ((bits >> 24) & 0xFFFFFF).float().mul_(2 * pi * 2.0**-24)
    both = sample_id.new_empty((len(sample_id), 2 * pairs), dtype=distance.dtype)  # [B, count or one more]
    both[:, :pairs], both[:, pairs:] = angle.cos().mul_(distance), angle.sin_().mul_(distance)
    return both[:, :count]


def keyed_below(sample_id: "Tensor", column: "Tensor", count: "int | Tensor", salt: int) -> "Tensor":
    """[B] ids, [C] columns -> [B, C] whole numbers of 0 .. count - 1 (one count, or one per column), count < 2^39."""
    return (keyed_bits(sample_id, column, salt) & _24_BITS) * count >> 24


def keyed_chance(sample_id: "Tensor", column: "Tensor", probability: float, salt: int) -> "Tensor":
    """[B] ids, [C] columns -> [B, C] bool, True with this probability."""
    return (keyed_bits(sample_id, column, salt) & _24_BITS) < round(probability * (1 << 24))


def keyed_permutation(count: int, salt: int) -> NDArray[np.int64]:
    """A permutation of range(count) fixed by the salt, independent of the NumPy version."""
    bits = keyed_bits(np.zeros(1, np.int64), np.arange(count, dtype=np.int64), salt)[0]
    return np.argsort(bits, kind="stable")


def _mix(x: A) -> A:
    """splitmix64 finaliser on int64 (https://prng.di.unimi.it/splitmix64.c); wraps on overflow."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ ((x >> 31) & 0x1FFFFFFFF)
