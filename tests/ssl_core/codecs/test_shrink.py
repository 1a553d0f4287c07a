"""Images stored no larger than training needs."""

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from ssl_core.codecs.image import Image
from tests.support.kinds import kinds

HEIGHT, WIDTH = 90, 130


def picture() -> Pillow.Image:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([rows * 2, columns, (rows + columns) % 256], axis=2)
    return Pillow.fromarray(pixels.astype(np.uint8))


FILES = kinds(picture())


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(("shorter", "size"), [(45, (45, 65)), (20, (20, 29)), (89, (89, 129))])
def test_the_shorter_side_is_what_was_asked_for(kind: str, shorter: int, size: tuple[int, int]) -> None:
    codec = Image(Image.Config(resize_shorter=shorter))
    stored = codec.clean(FILES[kind])
    assert codec.extent(stored) == size and Pillow.open(io.BytesIO(stored)).format in ("JPEG", "PNG")
    whole = Pillow.open(io.BytesIO(FILES[kind])).convert("RGB")
    shown = np.asarray(whole.resize(size[::-1], Pillow.Resampling.BILINEAR))
    if kind != "palette png":  # whose colors Pillow mixes otherwise
        assert np.abs(codec.decode(stored).astype(int) - shown).mean() < (6 if kind == "bilevel png" else 4)


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_larger_is_stored_as_it_is(kind: str) -> None:
    plain = Image(Image.Config())
    for shorter in (HEIGHT, 1000):
        assert Image(Image.Config(resize_shorter=shorter)).clean(FILES[kind]) == plain.clean(FILES[kind])
    assert not plain.changes_values


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (3, 4000)])
def test_long_and_thin_images_keep_a_pixel(shape: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Pillow.fromarray(np.zeros((*shape, 3), np.uint8)).save(buffer, "PNG")
    codec = Image(Image.Config(resize_shorter=2))
    assert min(codec.extent(codec.clean(buffer.getvalue()))) == min(2, *shape)


def test_cleaning_twice_changes_nothing_more() -> None:
    codec = Image(Image.Config(resize_shorter=45))
    once = codec.clean(FILES["jpeg"])
    assert codec.clean(once) == once
