"""The bytes of UTF-8 as tokens: nothing to train, nothing to keep beside a model."""

from collections.abc import Sequence
from typing import Literal

from ssl_core.tokenizers.base import NUM_SPECIAL, Tokenizer, TokenizerConfig


class Bytes(Tokenizer):
    """Every byte of UTF-8 is a token: 256 of them, no artifact, no unknown words, four times as many as subwords."""

    class Config(TokenizerConfig):
        name: Literal["bytes"] = "bytes"

        @property
        def num_ids(self) -> int:
            return NUM_SPECIAL + 256

    def __init__(self, config: Config) -> None:
        self.vocab_size = config.num_ids

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[NUM_SPECIAL + byte for byte in text.encode()] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(each - NUM_SPECIAL for each in ids if each >= NUM_SPECIAL).decode("utf-8", "replace")
