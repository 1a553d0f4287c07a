"""A random stretch of a text, for contrastive and masked methods.

Shapes: B texts, T tokens.
"""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ssl_core import noise
from ssl_core.augment._text.base import TextAugmentation, TextConfig
from ssl_core.augment.base import Ragged


class TextCrop(TextAugmentation):
    """A window of a text's tokens at a random place, of random length: two of them are two views of one text."""

    class Config(TextConfig):
        name: Literal["text_crop"] = "text_crop"
        crop_min: float = Field(default=0.5, gt=0, le=1)
        """Shortest window, as a share of the text; it never holds more than `length` tokens."""
        crop_max: float = Field(default=1.0, gt=0, le=1)
        """Both at 1: texts that are short come whole, of longer ones a window of `length` tokens."""

        @model_validator(mode="after")
        def _range_is_ordered(self) -> Self:
            if self.crop_min > self.crop_max:
                raise ValueError(f"crop_min ({self.crop_min}) must not exceed crop_max ({self.crop_max})")
            return self

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config = config

    def __call__(self, values: Sequence[str], sample_id: NDArray[np.int64], salt: int) -> Ragged:
        """B texts -> [B, T] int32."""
        draws = noise.keyed_uniform(sample_id, 2, noise.salt(salt, 0)).tolist()  # [B, 2] size, start
        rows = []
        for ids, (size, start) in zip(self.tokenizer.encode(values), draws, strict=True):
            share = self.config.crop_min + (self.config.crop_max - self.config.crop_min) * size
            count = min(self.room, max(1, round(share * len(ids))))
            first = int(start * (len(ids) - count + 1))
            rows.append(ids[first : first + count])
        return self.padded(rows)
