"""Subwords by byte-level BPE (Sennrich et al., 2016, https://arxiv.org/abs/1508.07909; bytes as in GPT-2).

Trained once on the texts of a run, kept as `tokenizer.json`; the same texts in the same order give the same file.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from ssl_core.config import LocalPath
from ssl_core.tokenizers.base import NUM_SPECIAL, SPECIAL_TOKENS, Tokenizer, TokenizerConfig

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # readers are processes of their own already
MAX_FILE = 64 << 20
FEWEST = NUM_SPECIAL + 256


class ByteBPE(Tokenizer):
    """Subwords learned from the train texts; every text can be written in them, byte by byte if need be."""

    class Config(TokenizerConfig):
        name: Literal["byte_bpe"] = "byte_bpe"
        vocab_size: Annotated[int, Field(ge=FEWEST)] = 4096
        """Ids at most, special ones included; a small corpus supports fewer."""
        min_frequency: PositiveInt = 2
        """Pairs that are rarer are not joined."""
        max_texts: PositiveInt = 200_000
        """Train texts that it learns from, chosen by their sample ids."""
        seed: NonNegativeInt = 0
        """Of that choice."""
        file: LocalPath | None = None
        """A tokenizer.json whose ids 0 to 3 are Selfray's special tokens; null: one is trained on the train texts."""
        sha256: str = ""
        """Of that file; one that has changed is refused. Filled in where it is trained."""

        @property
        def num_ids(self) -> int:
            return self.vocab_size

    def __init__(self, config: Config) -> None:
        if config.file is None:
            raise ValueError("tokenizer.file: byte_bpe is not trained yet; `selfray run` trains it after ingest")
        self.vocab_size = config.vocab_size
        self._inner = _opened(config.file, config.sha256, config.vocab_size)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._inner.decode([each for each in ids if each >= NUM_SPECIAL])
        return text


def trained(texts: Iterable[str], config: ByteBPE.Config) -> str:
    """tokenizer.json, learned from texts in their order."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    text: str = made.to_str(pretty=True)
    return text


def _opened(path: Path, sha256: str, most: int):  # type: ignore[no-untyped-def]  # of a library without types
    """
    Raises:
        ValueError: not there, changed, too large, or no tokenizer whose ids fit.
    """
    from tokenizers import Tokenizer

    try:
        if path.stat().st_size > MAX_FILE:
            raise ValueError(f"tokenizer.file: {path}: more than {MAX_FILE >> 20} MB; no tokenizer of text is so large")
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"tokenizer.file: {path}: cannot be read ({error.strerror})") from None
    if sha256 and (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(f"tokenizer.file: {path}: its sha256 is {found[:12]}..., not {sha256[:12]}...; do not use it")
    try:
        kind = json.loads(data)["model"]["type"]
        made = Tokenizer.from_str(data.decode())
    except Exception as error:  # the library raises bare ones
        raise ValueError(f"tokenizer.file: {path}: no tokenizer.json ({' '.join(str(error).split())[:100]})") from None
    if kind != "BPE":
        raise ValueError(f"tokenizer.file: {path}: holds a {kind}; byte_bpe needs a byte-level BPE")
    specials = tuple(made.id_to_token(place) for place in range(NUM_SPECIAL))
    if specials != SPECIAL_TOKENS:
        raise ValueError(f"tokenizer.file: {path}: ids 0 to 3 are {specials}; they must be {SPECIAL_TOKENS}")
    if (count := made.get_vocab_size(with_added_tokens=True)) > most:
        raise ValueError(f"tokenizer.vocab_size: {path} has {count} ids, more than {most}; raise it")
    made.no_padding()
    made.no_truncation()
    made.encode_special_tokens = True  # a text that spells one is text
    return made
