"""Subwords: every text comes back, the same texts give the same file, and a changed file is refused."""

import hashlib
import json
import pickle
from pathlib import Path

import pytest

from ssl_core.tokenizers.base import MASK, NUM_SPECIAL, SEP
from ssl_core.tokenizers.byte_bpe import ByteBPE, trained

TEXTS = ["the cat sat on the mat", "the dog sat on the log", "caf\u00e9 the cats"] * 5


def made(folder: Path, text: str | None = None, **settings: object) -> ByteBPE:
    path = folder / "tokenizer.json"
    path.write_text(text if text is not None else trained(TEXTS, ByteBPE.Config(vocab_size=280)))
    return ByteBPE(ByteBPE.Config.model_validate({"vocab_size": 280, "file": path, **settings}))


def test_any_text_comes_back_in_fewer_tokens_than_bytes(tmp_path: Path) -> None:
    tokenizer = made(tmp_path)
    for text in ("the cat sat", "caf\u00e9 \U0001f600 \u05e9\n x", "[MASK] and [PAD]", ""):
        (ids,) = tokenizer.encode([text])
        assert tokenizer.decode(ids) == text
        assert all(NUM_SPECIAL <= each < 280 for each in ids)
    assert len(tokenizer.encode(["the cat sat on the"])[0]) < 12
    assert tokenizer.decode([MASK, *tokenizer.encode(["cat"])[0], SEP]) == "cat"
    assert pickle.loads(pickle.dumps(tokenizer)).encode(TEXTS) == tokenizer.encode(TEXTS)


def test_the_same_texts_give_the_same_file() -> None:
    config = ByteBPE.Config(vocab_size=300)
    assert len({hashlib.sha256(trained(TEXTS, config).encode()).digest() for _ in range(3)}) == 1
    assert trained(TEXTS, config) != trained(TEXTS[:3], config)


def test_a_file_that_is_not_the_one_is_refused(tmp_path: Path) -> None:
    good = trained(TEXTS, ByteBPE.Config(vocab_size=280))
    sha256 = hashlib.sha256(good.encode()).hexdigest()
    assert made(tmp_path, good, sha256=sha256).encode(["a"])
    with pytest.raises(ValueError, match="its sha256 is"):
        made(tmp_path, good + " ", sha256=sha256)
    with pytest.raises(ValueError, match=r"vocab_size: .* has 280 ids, more than 270"):
        made(tmp_path, good, vocab_size=270)
    for text in ("", "{", "[]", json.dumps({"model": {"type": "BPE"}}), "\0"):
        with pytest.raises(ValueError, match=r"no tokenizer\.json"):
            made(tmp_path, text)
    tree = json.loads(good)
    with pytest.raises(ValueError, match="holds a WordLevel"):
        made(tmp_path, json.dumps({**tree, "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}))
    with pytest.raises(ValueError, match="ids 0 to 3 are"):
        made(tmp_path, good.replace("[MASK]", "[HIDE]"))
    with pytest.raises(ValueError, match="cannot be read"):
        ByteBPE(ByteBPE.Config(file=tmp_path / "none.json"))
    with pytest.raises(ValueError, match="not trained yet"):
        ByteBPE(ByteBPE.Config())
