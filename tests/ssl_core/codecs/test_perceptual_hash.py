"""Perceptual hashes: what they must not notice, what they must, and the search against a loop."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Pillow

from ssl_core.codecs._image import perceptual_hash as module
from ssl_core.codecs._image.perceptual_hash import nearest_hashes, perceptual_hash
from tests.support.pictures import picture


def bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.bitwise_count(a ^ b)


def changed(image: np.ndarray, how: str) -> np.ndarray:
    pillow, buffer = Pillow.fromarray(image), BytesIO()
    if how == "resized":
        return np.asarray(pillow.resize((150, 110), Pillow.Resampling.BICUBIC))
    if how == "darker":
        return (image * 0.8).astype(np.uint8)
    pillow.save(buffer, "JPEG", quality=40)
    return np.asarray(Pillow.open(buffer).convert("RGB"))


@pytest.mark.parametrize("how", ["resized", "darker", "recompressed"])
def test_a_copy_is_near_and_another_picture_far(how: str):
    images = [picture(220, 300, seed=i) for i in range(20)]
    own = perceptual_hash(images)
    copies = perceptual_hash([changed(image, how) for image in images])
    assert own.dtype == np.uint64 and own.shape == (20,)
    assert bits(own, copies).max() <= 6
    others = bits(own[:, None], own)[~np.eye(20, dtype=bool)]
    assert others.min() > 8
    assert others.mean() == pytest.approx(32, abs=4)


def test_half_of_the_bits_are_set_and_order_does_not_matter():
    images = [picture(40 + i, 90 - i, seed=i) for i in range(30)]
    own = perceptual_hash(images)
    assert np.bitwise_count(own).mean() == pytest.approx(32, abs=4)
    assert np.array_equal(perceptual_hash(images[::-1])[::-1], own)
    assert perceptual_hash([]).shape == (0,)


def test_gray_pictures_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        perceptual_hash([np.zeros((8, 8), np.uint8)])


def test_nearest_hashes_are_those_of_a_sort(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    queries, keys = (rng.integers(0, 2**63, n, np.uint64) for n in (7, 40))
    distance = bits(queries[:, None], keys)
    order = distance.argsort(axis=1, kind="stable")[:, :3]
    monkeypatch.setattr(module, "_BLOCK", 90)  # two queries at a time
    found_bits, found = nearest_hashes(queries, keys, 3)
    assert np.array_equal(found, order)
    assert np.array_equal(found_bits, np.take_along_axis(distance, order, axis=1))
    with pytest.raises(ValueError, match="2 keys, fewer than the 3"):
        nearest_hashes(queries, keys[:2], 3)
