"""Gray images of 16 bits: read from every format, and refused where they hold those of a camera of fewer bits."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.config.parse import parse
from pipelines.data.ingest import _check_16_bit
from pipelines.data.parts import jobs
from pipelines.data.shards import writing
from pipelines.data.shards.writing import Rules, ShardRecord
from pipelines.errors import UserError
from ssl_core.codecs._image.decode import clean, decode, largest_of_16_bits
from tests.support.images import encoded, image_fields, write_tree
from tests.support.reading import SHARD_MB, made
from tests.support.recipe import TREE

LEVELS = np.arange(0, 65_536, 32, dtype=np.uint16).reshape(32, 64)


def file_of(values: np.ndarray, kind: str) -> bytes:
    if kind == "PGM":
        return b"P5 %d %d 65535\n" % values.shape[::-1] + values.astype(">u2").tobytes()
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PGM"])
def test_every_format_keeps_the_high_byte(kind: str) -> None:
    data = file_of(LEVELS, kind)
    shown = decode(clean(data, max_pixels=10_000)[0], max_pixels=10_000)
    assert np.abs(shown[..., 0].astype(int) - (LEVELS >> 8)).max() <= 1
    assert largest_of_16_bits(data) == LEVELS.max()
    assert largest_of_16_bits(file_of(LEVELS >> 4, kind)) == LEVELS.max() >> 4
    assert largest_of_16_bits(encoded(1)) is None and largest_of_16_bits(encoded(1, kind="JPEG")) is None


def test_a_pgm_of_fewer_bits_says_its_range() -> None:
    data = b"P5 64 32 4095\n" + (LEVELS >> 4).astype(">u2").tobytes()
    assert np.abs(decode(data, max_pixels=10_000)[..., 0].astype(int) - (LEVELS >> 8)).max() <= 1


def records(root: Path, *files: bytes) -> list[ShardRecord]:
    write_tree(root / "in", {f"{i}.png": data for i, data in enumerate(files)})
    source = made("image_folder", path=root / "in")
    (job,) = jobs(source, SHARD_MB)
    return [writing.write(source, job, Rules(image_fields(10_000), 0.0, 1 << 20), root)]


def test_twelve_bits_in_sixteen_are_refused_or_said(tmp_path: Path) -> None:
    config, dark = parse(TREE), file_of(LEVELS >> 4, "PNG")
    made_of = records(tmp_path, dark, dark, encoded(1))
    with pytest.raises(UserError) as error:
        _check_16_bit(config, tmp_path, made_of)
    said = (
        "ingest.dark_16_bit: all 2 16-bit gray images use 12 bits only (largest value 4094), so 8 bits of them hold 16 "
    )
    assert str(error.value).startswith(said) and "by 16, or set ingest.dark_16_bit=keep" in str(error.value)
    _check_16_bit(parse(TREE, {"ingest.dark_16_bit": "keep"}), tmp_path, made_of)
    assert "use 12 bits only" in (tmp_path / "notes.log").read_text()


def test_a_full_range_in_one_of_them_is_enough(tmp_path: Path) -> None:
    _check_16_bit(parse(TREE), tmp_path, records(tmp_path, file_of(LEVELS >> 4, "PNG"), file_of(LEVELS, "PNG")))
    _check_16_bit(parse(TREE), tmp_path, records(tmp_path / "8", encoded(1)))
