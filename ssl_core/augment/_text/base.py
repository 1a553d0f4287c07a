"""What every chain of text shares: tokens between a start and an end, padded, and what they say by themselves.

Shapes: B texts, T tokens of a view.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializeAsAny, model_validator

from ssl_core.augment._text.floor import hashed_grams
from ssl_core.augment._text.page import page
from ssl_core.augment.base import Augmentation, Ragged
from ssl_core.catalog import find, named_in
from ssl_core.config import NamedConfig
from ssl_core.spec import TOKEN_AXES, ViewSpec
from ssl_core.tokenizers.base import CLS, PAD, SEP, Tokenizer, TokenizerConfig
from ssl_core.tokenizers.bytes import Bytes

if TYPE_CHECKING:
    from torch import Tensor


class TextConfig(NamedConfig):
    """Knobs that every chain of text has under the same names."""

    length: Annotated[int, Field(gt=0)] = 128
    """Tokens of a view at most, its start and end included; a shorter text is padded."""
    tokenizer: Annotated[SerializeAsAny[TokenizerConfig], named_in("ssl_core.tokenizers")] = Bytes.Config()
    """What cuts text into tokens; the same in all views."""
    specials: bool = True
    """A view begins with [CLS] and ends with [SEP]."""

    @model_validator(mode="after")
    def _holds_a_token(self) -> "TextConfig":
        if self.specials and self.length < 3:
            raise ValueError(f"length: {self.length} holds a start, an end and no text; give 3 or more")
        return self


class TextAugmentation(Augmentation):
    """A chain whose views are tokens: [B, T] int32 as they travel, PAD behind the end of a text."""

    field = "text"
    codec = "text"
    floor_name = "hashed-grams-1"

    def __init__(self, config: TextConfig) -> None:
        ids, length = config.tokenizer.num_ids, config.length
        self.spec = ViewSpec(TOKEN_AXES, (length,), num_ids=ids, ragged=True, nbytes=4 * length)
        self._tokens = config.tokenizer
        self._specials = config.specials
        self.room = config.length - 2 * config.specials
        """Tokens of text that a view holds."""

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Built where it is used: views have their spec before a tokenizer is trained."""
        made: Tokenizer = find("ssl_core.tokenizers", self._tokens.name)(self._tokens)
        return made

    def padded(self, rows: Sequence[Sequence[int]]) -> Ragged:
        """The ids of B texts, at most `room` each, as views with their length."""
        x = np.full((len(rows), *self.spec.shape), PAD, np.int32)
        length = np.zeros(len(rows), np.int64)
        for index, row in enumerate(rows):
            ids = [CLS, *row, SEP] if self._specials else row
            x[index, : len(ids)] = ids
            length[index] = len(ids)
        return Ragged(x, length)

    def finish(self, view: "Tensor", sample_id: NDArray[np.int64] | None = None, salt: int | None = None) -> "Tensor":
        """[B, T] int64 ids."""
        return view.long()

    def valid(self, view: "Tensor") -> "Tensor":
        """[B, T] bool: no padding."""
        return view != PAD

    def restore(self, view: "Tensor") -> "Tensor":
        """As it travels: [B, T] int32."""
        return view.int()

    def texts(self, view: NDArray[Any]) -> list[str]:
        """What B views say."""
        return [self.tokenizer.decode(row) for row in np.asarray(view).tolist()]

    def pictures(self, view: NDArray[Any]) -> NDArray[np.uint8]:
        """The beginning of each text, drawn."""
        return np.stack([page(text) for text in self.texts(view)])

    def floor(self, view: "Tensor", valid: "Tensor | None" = None) -> "Tensor":
        """log(1 + count) of hashed runs of one to three tokens: [B, T] -> [B, 2048]."""
        return hashed_grams(view)
