"""Bytes as tokens."""

import pickle

from ssl_core.tokenizers.base import CLS, MASK, NUM_SPECIAL, PAD, SEP
from ssl_core.tokenizers.bytes import Bytes

TOKENIZER = Bytes(Bytes.Config())


def test_every_text_comes_back():
    texts = ["", "a", "[MASK] caf\u00e9 \U0001f600 \u05e9"]
    ids = TOKENIZER.encode(texts)
    assert [TOKENIZER.decode(each) for each in ids] == texts
    assert ids[:2] == [[], [NUM_SPECIAL + ord("a")]]
    assert all(NUM_SPECIAL <= each < TOKENIZER.vocab_size for row in ids for each in row)
    assert TOKENIZER.vocab_size == Bytes.Config().num_ids == 260


def test_special_ids_and_torn_characters_are_no_text():
    (ids,) = TOKENIZER.encode(["\u00e9"])
    assert TOKENIZER.decode([CLS, MASK, ids[0], SEP, PAD]) == "\ufffd"


def test_it_travels_to_other_processes():
    assert pickle.loads(pickle.dumps(TOKENIZER)).encode(["x"]) == TOKENIZER.encode(["x"])
