"""Chains of text: what a view holds, and the floor against a plain count."""

from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ssl_core.augment._text.floor import WIDTH
from ssl_core.augment.text_crop import TextCrop
from ssl_core.augment.text_eval import TextEval
from ssl_core.augment.text_words import TextWords
from ssl_core.noise import salt
from ssl_core.spec import TOKEN_AXES, ViewSpec
from ssl_core.tokenizers.base import CLS, NUM_SPECIAL, PAD, SEP

IDS = np.arange(3)
TEXTS = ["abcdefghijkl", "ab", "a"]


def _of(text: str) -> list[int]:
    return [NUM_SPECIAL + byte for byte in text.encode()]


def test_the_evaluation_view_is_the_beginning_between_start_and_end():
    chain = TextEval(TextEval.Config(length=8))
    assert chain.spec == ViewSpec(TOKEN_AXES, (8,), num_ids=260, ragged=True, nbytes=32)
    view = chain(TEXTS, IDS, 0)
    assert view.x.dtype == np.int32 and view.length.tolist() == [8, 4, 3]
    assert view.x[0].tolist() == [CLS, *_of("abcdef"), SEP]
    assert view.x[1].tolist() == [CLS, *_of("ab"), SEP, *[PAD] * 4]
    assert chain.texts(view.x) == ["abcdef", "ab", "a"]
    bare = TextEval(TextEval.Config(length=8, specials=False))(TEXTS, IDS, 0)
    assert bare.x[0].tolist() == _of("abcdefgh") and bare.length.tolist() == [8, 2, 1]


def test_a_crop_is_a_stretch_of_the_text_within_its_limits():
    chain = TextCrop(TextCrop.Config(length=10, crop_min=0.25, crop_max=0.5))
    ids = np.arange(400)
    found = chain.texts(chain([TEXTS[0]] * 400, ids, salt(3)).x)
    assert all(text in TEXTS[0] for text in found)
    assert {len(text) for text in found} == {3, 4, 5, 6}
    assert {text[0] for text in found} == set("abcdefghij") and {text[-1] for text in found} == set("cdefghijkl")


def test_a_crop_never_loses_all_of_a_short_text_nor_passes_the_view():
    chain = TextCrop(TextCrop.Config(length=5, crop_min=0.01, crop_max=1))
    view = chain(TEXTS * 50, np.arange(150), salt(4))
    assert view.length.min() == 3 and view.length.max() == 5
    assert chain(["a"], np.array([1]), 0).x[0].tolist() == [CLS, *_of("a"), SEP, PAD, PAD]


def test_whole_texts_come_whole_where_both_limits_are_one():
    chain = TextCrop(TextCrop.Config(length=14, crop_min=1))
    assert chain.texts(chain(TEXTS, IDS, salt(5)).x) == TEXTS


def test_floor_counts_runs_of_tokens_and_no_special_one():
    chain = TextEval(TextEval.Config(length=16))
    text = "abcabcab"
    (floor,) = chain.floor(torch.from_numpy(chain([text], IDS[:1], 0).x))
    counts = Counter(text[i : i + n] for n in (1, 2, 3) for i in range(len(text) - n + 1))
    assert floor.shape == (WIDTH,)
    torch.testing.assert_close(floor[floor > 0].expm1().sort()[0], torch.tensor(sorted(map(float, counts.values()))))
    bare = TextEval(TextEval.Config(length=30, specials=False))
    torch.testing.assert_close(bare.floor(torch.from_numpy(bare([text], IDS[:1], 0).x))[0], floor)


def test_a_report_shows_the_words():
    chain = TextEval(TextEval.Config(length=32))
    pictures = chain.pictures(chain(["some words", "other words", "some words"], IDS, 0).x)
    assert pictures.dtype == np.uint8 and pictures.shape[-1] == 3
    assert np.array_equal(pictures[0], pictures[2]) and not np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"length": 2}, "holds a start, an end and no text"),
        ({"crop_min": 0.9, "crop_max": 0.5}, "must not exceed crop_max"),
        ({"tokenizer": {"name": "byte"}}, "did you mean 'bytes'"),
        ({"tokenizer": {"name": "bytes", "vocab_size": 9}}, "unknown key"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], said: str):
    with pytest.raises(ValidationError, match=said):
        TextCrop.Config.model_validate(settings)


WORDS = [f"w{i}" for i in range(200)]


def _changed(**settings: float) -> list[str]:
    only = {"delete": 0.0, "replace": 0.0, "insert": 0.0, "swap": 0.0, **settings}
    chain = TextWords(TextWords.Config(length=2000, **only))
    (text,) = chain.texts(chain([" ".join(WORDS)], np.array([7]), salt(1)).x)
    return text.split()


def test_each_change_of_words_does_what_it_says():
    assert _changed() == WORDS
    left = _changed(delete=0.3)
    assert left == [word for word in WORDS if word in set(left)] and 110 < len(left) < 170
    replaced = _changed(replace=0.3)
    assert len(replaced) == 200 and 110 < sum(a == b for a, b in zip(WORDS, replaced, strict=True)) < 170
    longer = _changed(insert=0.3)
    assert 230 < len(longer) < 290 and set(longer) == set(WORDS)
    swapped = _changed(swap=0.3)
    assert sorted(swapped) == sorted(WORDS) and swapped != WORDS
    assert len(set(replaced) - set(WORDS)) == 0


def test_one_word_always_stays():
    chain = TextWords(TextWords.Config(length=8, delete=0.99, insert=0))
    assert chain(["a b"] * 50, np.arange(50), salt(2)).length.min() == 3
