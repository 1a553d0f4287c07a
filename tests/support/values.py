"""Decoded values of each kind of field, for tests of the chains that read it, and the chains at two sizes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core import catalog
from ssl_core.augment.base import Augmentation, Ragged
from tests.support.pictures import picture

SHAPES = [(40, 40), (1, 1), (64, 33), (200, 150), (24, 90), (3, 200), (32, 32), (97, 31)]
COUNT = len(SHAPES)
SIZES: dict[str, list[dict[str, Any]]] = {  # per codec: the knobs that say how large a view is
    "audio": [{"seconds": 0.32}, {"seconds": 0.17, "mels": None}],
    "image": [{"size": 32}, {"size": 17}],
    "series": [{"length": 32, "channels": 2}, {"length": 17}],
    "text": [{"length": 48}, {"length": 17, "specials": False}],
}


def chain_of(name: str, which: int = 0, **knobs: Any) -> Augmentation:
    component = catalog.find("ssl_core.augment", name)
    chain: Augmentation = component(component.Config(**{**SIZES[component.codec][which], **knobs}))
    return chain


def values_for(chain: Augmentation, count: int = COUNT) -> list[Any]:
    """Different values that a chain reads, sizes differ."""
    if chain.codec == "image":
        return [picture(*SHAPES[i % COUNT], seed=i) for i in range(count)]
    component = catalog.find("ssl_core.codecs", chain.codec)
    codec = component(component.Config())
    return [codec.decode(data) for data in codec.drawn(chain.spec, count)]


def arrays(values: Sequence[Any]) -> list[np.ndarray]:
    """What the values hold in memory."""
    parts = [value if isinstance(value, tuple) else (value,) for value in values]
    return [array for value in parts for array in value if isinstance(array, np.ndarray)]


def views_of(chain: Augmentation, values: Sequence[Any], sample_id: NDArray[np.int64], salt: int) -> NDArray[Any]:
    """What a chain makes of values, without the lengths of ragged views."""
    made = chain(values, sample_id, salt)
    return made.x if isinstance(made, Ragged) else made
