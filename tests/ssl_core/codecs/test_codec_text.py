"""Text to bytes and back; what is refused, and how near copies are found."""

import numpy as np
import pytest

from ssl_core.augment.text_eval import TextEval
from ssl_core.codecs.base import DecodeError
from ssl_core.codecs.text import Text
from ssl_core.spec import TOKEN_AXES, ViewSpec

CODEC = Text(Text.Config(max_chars=100))
LINE = "I am still waiting for my new card, what is the delivery time in {} of Europe?"


def test_text_of_any_script_comes_back():
    for text in (
        "plain",
        "caf\u00e9 \u0434\u043e\u043c",
        "\u05e9\u05dc\u05d5\u05dd \u0627\u0644",
        "\U0001f600 ok",
        "a\n\tb",
        "x",
    ):
        stored = CODEC.clean(text.encode())
        assert CODEC.decode(stored) == text == CODEC.checked(text)
        assert CODEC.clean(stored) == stored == CODEC.encode(text)
        assert CODEC.extent(stored) == (len(text),)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"caf\xc3\xa9", "cafe\u0301".encode()),  # composed, decomposed
        (b"a\nb", b"a\r\nb"),
        (b"a\nb", b"\xef\xbb\xbfa\rb\n\n"),  # byte order mark, old line end, line end at the end
        (b"a b", b"a\x0cb"),
        (b"a b", "a\x85b".encode()),
    ],
)
def test_the_same_text_is_the_same_bytes(one: bytes, other: bytes):
    assert CODEC.clean(one) == CODEC.clean(other)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty text"),
        (b" \n\t\r\n", "empty text"),
        (b"\xef\xbb\xbf", "empty text"),
        (b"ab\xffc", "not UTF-8: byte 0xff at 2"),
        (b"ab\xc3", "not UTF-8: byte 0xc3 at 2"),
        (b"\xed\xa0\x80", "not UTF-8"),  # half a surrogate pair
        (b"\x89PNG\r\n", "not UTF-8: byte 0x89 at 0"),
        (b"ab\0c", "NUL at character 2: not a text"),
        ("\u00e9".encode() * 101, "101 characters exceed max_chars 100"),
        (b"a" * 401, "more than 100 characters exceed max_chars 100"),
        (b"a" * 101, "101 characters exceed max_chars 100"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, said: str):
    for read in (CODEC.clean, CODEC.decode):
        with pytest.raises(DecodeError, match=said):
            read(data)


@pytest.mark.parametrize(
    ("value", "said"), [(3, "is int; needs text"), (None, "is NoneType"), ("a\ud800", "surrogate")]
)
def test_values_in_memory_that_are_no_text(value: object, said: str):
    with pytest.raises(DecodeError, match=said):
        CODEC.checked(value)


def test_composition_that_lengthens_passes_no_limit():
    with pytest.raises(DecodeError, match="exceed max_chars"):
        CODEC.decode("\u0958".encode() * 60)  # NFC writes it as two characters


def test_drawn_texts_differ_and_are_texts():
    drawn = CODEC.drawn(ViewSpec(TOKEN_AXES, (30,)), 8)
    assert len(set(drawn)) == 8
    assert all(CODEC.clean(data) == data for data in drawn)


def _views(*texts: str) -> np.ndarray:
    config = TextEval.Config.model_validate({k: v for k, v in Text.sketch_view.items() if k != "name"})
    return TextEval(config)(texts, np.arange(len(texts)), 0).x


def test_near_copies_share_their_sketch_and_others_do_not():
    declined = "Why was my transfer declined twice this morning?"
    a, near, far, short, other_short = _views(LINE.format("the south"), LINE.format("the north"), declined, "ab", "ac")
    one, two, other = CODEC.sketches(np.stack([a, near, far]))
    assert np.bitwise_count(one ^ two) < 16 < np.bitwise_count(one ^ other)
    same, close, apart = CODEC.similarity(np.stack([a, a, a]), np.stack([a, near, far]))
    assert same == pytest.approx(1) and 0.8 < close < 1 and apart < 0.2
    assert CODEC.similarity(short[None], other_short[None])[0] == 0
    assert len(set(CODEC.sketches(np.stack([short, other_short])).tolist())) == 2


def test_a_sketch_is_the_majority_of_its_grams():
    (row,) = _views("abcdef")  # two 5-grams: a bit is set where both have it
    first, second = CODEC.sketches(_views("abcde", "bcdef"))
    assert CODEC.sketches(row[None])[0] == first & second
