"""Keyed normal numbers without torch, cheap enough for one per value.

Shapes: B samples.
"""

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ssl_core.noise import keyed_bits

_BITS = 12
"""Of one draw: 4,096 levels of the normal distribution, its quantiles at (k + 1/2) / 4096, largest 3.67."""


def keyed_normals(sample_id: NDArray[np.int64], count: int, salt: int) -> NDArray[np.float32]:
    """[B] ids -> [B, count] standard normal numbers; five are drawn from 64 bits."""
    columns = np.arange(-(-count // 5), dtype=np.int64)
    bits = keyed_bits(np.asarray(sample_id, np.int64), columns, salt)  # [B, count / 5]
    levels = np.stack([bits >> shift for shift in range(0, 60, _BITS)], axis=-1) & ((1 << _BITS) - 1)
    return _quantiles()[levels.reshape(len(bits), 5 * len(columns))[:, :count]]


@cache
def _quantiles() -> NDArray[np.float32]:
    half = [NormalDist().inv_cdf((k + 0.5) / (1 << _BITS)) for k in range(1 << (_BITS - 1))]  # the negative ones
    both = np.array(half + [-x for x in reversed(half)])
    return (both / np.sqrt((both**2).mean())).astype(np.float32)
