"""The view of a text that probes, reports and serving read: no randomness.

Shapes: B texts, T tokens.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.augment._text.base import TextAugmentation, TextConfig
from ssl_core.augment.base import Ragged


class TextEval(TextAugmentation):
    """The beginning of a text, the same every time: for evaluation and serving."""

    draws = False

    class Config(TextConfig):
        name: Literal["text_eval"] = "text_eval"

    def __call__(self, values: Sequence[str], sample_id: NDArray[np.int64], salt: int) -> Ragged:
        """B texts -> [B, T] int32. Ignores sample_id and salt."""
        return self.padded([ids[: self.room] for ids in self.tokenizer.encode(values)])
