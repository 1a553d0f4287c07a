"""Deletion, insertion, replacement and swaps of words (EDA; Wei & Zou, 2019, https://arxiv.org/abs/1901.11196).

Shapes: B texts, T tokens, W words.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ssl_core import noise
from ssl_core.augment._text.base import TextAugmentation, TextConfig
from ssl_core.augment.base import Ragged

DELETE, REPLACE, INSERT, SWAP, START = range(5)  # what a random draw is for
Share = Annotated[float, Field(ge=0, lt=1)]


class TextWords(TextAugmentation):
    """A text with some of its words left out, repeated elsewhere, replaced by others of it, or swapped."""

    class Config(TextConfig):
        name: Literal["text_words"] = "text_words"
        delete: Share = 0.1
        """Probability that a word is left out; one word at least stays."""
        replace: Share = 0.1
        """Probability that another word of the same text takes a word's place: EDA takes a synonym, from a list that
        Selfray does not bring."""
        insert: Share = 0.1
        """Probability that a word of the text is repeated behind a word."""
        swap: Share = 0.1
        """Probability that a word changes places with the next one."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config = config

    def __call__(self, values: Sequence[str], sample_id: NDArray[np.int64], salt: int) -> Ragged:
        """B texts -> [B, T] int32; of what is longer than a view, a window at a random place."""
        made = [self._changed(text.split(), ids, salt) for text, ids in zip(values, sample_id, strict=True)]
        start = noise.keyed_uniform(sample_id, 1, noise.salt(salt, START))[:, 0].tolist()  # [B]
        rows = []
        for ids, place in zip(self.tokenizer.encode(made), start, strict=True):
            first = int(place * (max(0, len(ids) - self.room) + 1))
            rows.append(ids[first : first + self.room])
        return self.padded(rows)

    def _changed(self, words: list[str], sample_id: np.int64, salt: int) -> str:
        chance = {
            what: noise.keyed_uniform(np.array([sample_id]), 2 * len(words), noise.salt(salt, what))[0].reshape(2, -1)
            for what in (DELETE, REPLACE, INSERT, SWAP)
        }  # [2, W] each: whether, and which word
        config = self.config
        kept = (chance[DELETE][0] >= config.delete).tolist()
        if not any(kept):
            kept[int(chance[DELETE][1, 0] * len(words))] = True
        found = list[str]()
        for place, word in enumerate(words):
            if kept[place]:
                replaced = chance[REPLACE][0, place] < config.replace
                found.append(words[int(chance[REPLACE][1, place] * len(words))] if replaced else word)
            if chance[INSERT][0, place] < config.insert:
                found.append(words[int(chance[INSERT][1, place] * len(words))])
        for place in range(len(found) - 1):
            if place < len(words) and chance[SWAP][0, place] < config.swap:
                found[place], found[place + 1] = found[place + 1], found[place]
        return " ".join(found)
