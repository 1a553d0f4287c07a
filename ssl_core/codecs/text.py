"""Text: UTF-8 in Unicode's composed form, whatever wrote it."""

import unicodedata
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from ssl_core.codecs._text.simhash import gram_cosine, simhash
from ssl_core.codecs.base import Codec, DecodeError
from ssl_core.config import NamedConfig
from ssl_core.noise import keyed_uniform, salt
from ssl_core.spec import ViewSpec

_DRAWN = salt(0x7E87)
_WORDS = [
    "the",
    "of",
    "and",
    "a",
    "to",
    "in",
    "is",
    "it",
    "that",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "at",
    "be",
    "this",
    "have",
    "from",
    "or",
    "one",
    "had",
    "by",
    "word",
    "but",
    "not",
    "what",
    "all",
    "were",
    "we",
    "when",
    "your",
    "can",
    "said",
    "there",
    "use",
    "an",
    "each",
    "which",
    "she",
    "do",
    "how",
    "their",
    "if",
    "will",
    "up",
    "other",
    "about",
    "out",
    "many",
    "then",
    "them",
    "naïve",
    "café",
    "дом",
    "文字",
    "שלום",
    "λόγος",
]
_CONTROL = {code: " " for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


class Text(Codec[str]):
    """Text as UTF-8 in composed form (NFC), lines ending in \\n, without control characters or space around it."""

    version = 1
    takes_text = True
    compression = "zstd"
    sketch_view = {"name": "text_eval", "length": 1024, "specials": False}

    class Config(NamedConfig):
        name: Literal["text"] = "text"
        max_chars: PositiveInt = 1_000_000
        """Characters of one text; a longer one is refused, by its bytes before it is decoded."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def extent(self, data: bytes) -> tuple[int]:
        """(characters,), without decoding.

        Raises:
            DecodeError: empty, or longer than the config allows.
        """
        if not data:
            raise DecodeError("empty text")
        if len(data) > 4 * self.config.max_chars:
            self._refuse_length(f"more than {len(data) // 4}")
        begins = int(np.count_nonzero(np.frombuffer(data, np.uint8) & 0xC0 != 0x80))
        if begins > self.config.max_chars:
            self._refuse_length(str(begins))
        return (begins,)

    def decode(self, data: bytes, reduction: int = 1) -> str:
        """
        Args:
            data: UTF-8, with a byte order mark or without.
            reduction: not read; a text comes whole.
        Raises:
            DecodeError: no UTF-8; a NUL; empty or nothing but space; too long.
        """
        self.extent(data)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DecodeError(f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start} ({error.reason})") from None
        return self._canonical(text)

    def clean(self, data: bytes) -> bytes:
        return self.decode(data).encode()

    def encode(self, value: Any) -> bytes:
        return self.checked(value).encode()

    def checked(self, value: Any) -> str:
        if not isinstance(value, str):
            raise DecodeError(f"is {type(value).__name__}; needs text")
        try:
            self.extent(value.encode())
        except UnicodeEncodeError as error:
            raise DecodeError(f"has half a surrogate pair at {error.start}, no text") from None
        return self._canonical(value)

    def sketches(self, views: NDArray[Any]) -> NDArray[np.uint64]:
        """Simhash of the byte 5-grams of a text's first kilobyte."""
        return simhash(views)

    def similarity(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float32]:
        """Cosine of the counts of these 5-grams."""
        return gram_cosine(a, b)

    def drawn(self, spec: ViewSpec, count: int = 5) -> list[bytes]:
        """Common words in random order, in several scripts, from a few characters to more than a view."""
        (length,) = spec.shape
        made = []
        draws = keyed_uniform(np.arange(count), 1 + max(16, length // 3), _DRAWN)  # [count, ...]
        for index, (size, *words) in enumerate(draws.tolist()):
            number = max(2, round(size * len(words))) if index % 2 else len(words)
            made.append(" ".join(_WORDS[int(word * len(_WORDS))] for word in words[:number]).encode())
        return made

    def _canonical(self, text: str) -> str:
        """The same text for the same characters, however they were written."""
        if "\0" in text:
            raise DecodeError(f"NUL at character {text.index(chr(0))}: not a text")
        if not (text.isascii() and text.isprintable()):
            text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROL))
        text = text.strip().removeprefix("\ufeff")
        if not text:
            raise DecodeError("empty text")
        if len(text) > self.config.max_chars:  # composition rarely makes more of them
            self._refuse_length(str(len(text)))
        return text

    def _refuse_length(self, count: str) -> None:
        raise DecodeError(f"{count} characters exceed max_chars {self.config.max_chars}")
