"""What a tokenizer is: text to ids below `vocab_size`, and back. Free of torch: chains run it in data tasks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ssl_core.config import NamedConfig

PAD, CLS, SEP, MASK = range(4)
"""The first ids of every vocabulary: padding, start of a text, end of a text, what a masked token becomes."""
NUM_SPECIAL = 4
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")


class TokenizerConfig(NamedConfig):
    """Settings of a tokenizer; they say how many ids there are before it is trained."""

    @property
    @abstractmethod
    def num_ids(self) -> int:
        """Ids of the vocabulary, special ones included."""


class Tokenizer(ABC):
    """Pure, and pickled into Ray tasks. Ids from NUM_SPECIAL on stand for text; `encode` gives no others."""

    vocab_size: int

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special ones; a text that spells a special token is text all the same."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special ids are left out, bytes that are not UTF-8 become U+FFFD."""
