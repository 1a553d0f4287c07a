"""Decoding and cleaning on real files of every kind, whole, odd, damaged and hostile."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, PngImagePlugin
from PIL import Image as Pillow

from ssl_core.codecs._image.decode import DecodeError, clean, decode, image_shape
from tests.support.kinds import encode, kinds
from tests.support.pictures import picture

LIMIT = 40_000_000
PIXELS = picture(37, 53, seed=1)
IMAGE = Pillow.fromarray(PIXELS)


def private_exif(orientation: int = 1) -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "SECRET-CAMERA"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (48.0, 8.0, 14.25), 29: "SECRET-PLACE"})
    return exif


def shown(data: bytes) -> np.ndarray:
    """What a viewer shows: decoded by Pillow, RGB."""
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))


def halved(data: bytes, *, max_pixels: int) -> np.ndarray:
    return decode(data, max_pixels=max_pixels, reduction=2)


KINDS = kinds(IMAGE)


@pytest.mark.parametrize("kind", KINDS)
def test_decode_gives_what_pillow_shows(kind):
    pixels = decode(KINDS[kind], max_pixels=LIMIT)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (37, 53, 3)
    gap = np.abs(pixels.astype(int) - shown(KINDS[kind]).astype(int))
    assert gap.max() <= 3  # two builds of libjpeg-turbo may differ in the last bits
    assert gap.mean() <= (0.5 if kind.endswith("jpeg") else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_shape_is_read_without_decoding(kind):
    assert image_shape(KINDS[kind], max_pixels=LIMIT) == (37, 53)
    with pytest.raises(DecodeError, match=r"exceed ingest\.max_pixels 1000"):
        image_shape(KINDS[kind], max_pixels=1000)


@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg", "png"])
@pytest.mark.parametrize("length", [0, 3, 60, 1000])
def test_a_truncated_file_has_no_shape(kind, length):
    reasons = []
    for read in (image_shape, decode):
        with pytest.raises(DecodeError) as error:
            read(KINDS[kind][:length], max_pixels=LIMIT)
        reasons.append(str(error.value))
    assert reasons[0] == reasons[1]


def test_sixteen_bits_keep_the_high_byte():
    levels = np.arange(0, 65_536, 32, dtype=np.uint16).reshape(32, 64)
    for kind in ("PNG", "TIFF"):
        data = encode(kind, Pillow.fromarray(levels))
        expected = np.repeat((levels >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
        assert np.abs(decode(data, max_pixels=LIMIT).astype(int) - expected.astype(int)).max() <= 1
        assert clean(data, max_pixels=LIMIT)[1:] == (64, 32)


def test_transparency_is_laid_over_white():
    layer = np.zeros((4, 4, 4), np.uint8)  # black under full transparency
    layer[0] = (10, 20, 30, 255)
    layer[1] = (0, 0, 0, 128)
    for data in (
        encode("PNG", Pillow.fromarray(layer)),
        encode("WEBP", Pillow.fromarray(layer), lossless=True, exact=True),
    ):
        pixels = decode(data, max_pixels=LIMIT)
        assert pixels[0, 0].tolist() == [10, 20, 30]
        assert pixels[1, 0].tolist() == pytest.approx([127] * 3, abs=1)
        assert pixels[2, 0].tolist() == [255] * 3
    palette = IMAGE.quantize(8)
    data = encode("PNG", palette, transparency=int(np.asarray(palette)[0, 0]))
    assert decode(data, max_pixels=LIMIT)[0, 0].tolist() == [255] * 3


def test_images_of_one_pixel():
    for kind in ("JPEG", "PNG", "WEBP", "GIF"):
        data = encode(kind, Pillow.new("RGB", (1, 1), (200, 10, 30)))
        assert decode(data, max_pixels=LIMIT).shape == (1, 1, 3)
        assert clean(data, max_pixels=LIMIT)[1:] == (1, 1)


@pytest.mark.parametrize("read", [decode, halved, clean])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"just text, no pixels\n" * 20, "not an image"),
        (b"\0" * 5000, "not an image"),
        (b"\0\0\0\x1cftypheic" + b"\0" * 500, "HEIC and AVIF are not read; convert to JPEG or PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (KINDS["jpeg"][:-2], "truncated JPEG"),
        (KINDS["jpeg"][: len(KINDS["jpeg"]) // 2], "truncated JPEG"),
        (KINDS["progressive jpeg"][: len(KINDS["progressive jpeg"]) // 2], "truncated JPEG"),
        (encode("JPEG", IMAGE, exif=private_exif(), quality=90)[:-400], "truncated JPEG"),
        (KINDS["jpeg"][:100], "truncated JPEG"),
        (KINDS["png"][:-1], "truncated PNG"),
        (KINDS["png"][: len(KINDS["png"]) // 2], "truncated PNG"),
        (KINDS["png"][:20], "truncated PNG"),
        (KINDS["png"][:200] + b"\x55" + KINDS["png"][201:], "corrupt PNG (wrong checksum)"),
        (KINDS["bmp"][: len(KINDS["bmp"]) // 2], "truncated BMP"),
        (KINDS["webp"][: len(KINDS["webp"]) // 2], "corrupt"),
        (KINDS["gif"][: len(KINDS["gif"]) // 2], "truncated GIF"),
    ],
)
def test_a_bad_file_gives_its_reason(read, data, reason):
    with pytest.raises(DecodeError) as error:
        read(data, max_pixels=LIMIT)
    assert str(error.value).startswith(reason)
    assert len(str(error.value)) < 120


def png_of_size(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("read", [decode, halved, clean])
def test_a_bomb_is_refused_by_its_header(read):
    """Decoded, 20,000 x 20,000 would take 1.2 GB; a BMP's size is read by Pillow, which has a limit of its own."""
    with pytest.raises(DecodeError, match=r"400\.0 megapixels exceed ingest\.max_pixels 40000000"):
        read(png_of_size(20_000, 20_000), max_pixels=LIMIT)
    bomb = bytearray(KINDS["bmp"])
    bomb[18:26] = struct.pack("<ii", 20_000, 20_000)
    with pytest.raises(DecodeError, match="more pixels than Pillow agrees to decode"):
        read(bytes(bomb), max_pixels=LIMIT)
    with pytest.raises(DecodeError, match=r"0\.0 megapixels exceed ingest\.max_pixels 1000"):
        read(KINDS["jpeg"], max_pixels=1000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_clean_turns_every_orientation_upright(kind, orientation):
    corner = np.full((16, 32, 3), 30, np.uint8)
    corner[:8, :8] = (220, 40, 40)
    corner[8:, 24:] = (40, 220, 40)
    upright = Pillow.fromarray(corner)
    # what a camera stores is the upright image turned the other way: the inverse of what a viewer does
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # FLIP_LEFT_RIGHT 0, FLIP_TOP_BOTTOM 1, ROTATE_90/180/270 2/3/4
    stored = upright if orientation == 1 else upright.transpose(Pillow.Transpose(undo[orientation]))
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    data = encode(kind, stored, exif=private_exif(orientation), **options)
    cleaned, width, height = clean(data, max_pixels=LIMIT)
    assert (width, height) == (32, 16)
    pixels = decode(cleaned, max_pixels=LIMIT)
    assert np.abs(pixels.astype(int) - corner.astype(int)).mean() < 2
    assert b"SECRET" not in cleaned


def test_decode_ignores_orientation():
    data = encode("JPEG", IMAGE, exif=private_exif(6), quality=90)
    assert decode(data, max_pixels=LIMIT).shape == (37, 53, 3)


def with_comment_and_thumbnail(data: bytes) -> bytes:
    """A JPEG with IPTC, a comment, a JFIF extension and bytes behind its end."""
    extra = b""
    for marker, body in ((0xED, b"Photoshop 3.0\0SECRET"), (0xFE, b"SECRET note"), (0xE0, b"JFXX\0\x10SECRET")):
        extra += struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
    return data[:2] + extra + data[2:] + b"SECRET trailer"


def png_with_metadata(**options: object) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "SECRET")
    text.add_itxt("XML:com.adobe.xmp", "<x>SECRET</x>")
    return encode("PNG", IMAGE, exif=private_exif(), pnginfo=text, dpi=(72, 72), **options) + b"SECRET trailer"


@pytest.mark.parametrize(
    "data",
    [
        with_comment_and_thumbnail(
            encode("JPEG", IMAGE, exif=private_exif(), quality=90, icc_profile=b"SECRET profile")
        ),
        with_comment_and_thumbnail(encode("JPEG", IMAGE, exif=private_exif(), quality=90, progressive=True)),
        with_comment_and_thumbnail(encode("JPEG", IMAGE.convert("CMYK"), exif=private_exif(), quality=90)),
        with_comment_and_thumbnail(encode("JPEG", IMAGE, keep_rgb=True, exif=private_exif())),
        png_with_metadata(icc_profile=b"SECRET profile"),
        png_with_metadata(compress_level=0),
        encode("WEBP", IMAGE, exif=private_exif(), lossless=True, xmp=b"SECRET"),
        encode("TIFF", IMAGE, exif=private_exif()),
        encode("GIF", IMAGE, comment=b"SECRET"),
        encode("BMP", IMAGE) + b"SECRET trailer",
        encode("WEBP", IMAGE, lossless=True) + b"SECRET trailer",
    ],
)
def test_clean_drops_metadata_and_keeps_every_pixel(data):
    assert b"SECRET" in data
    cleaned, width, height = clean(data, max_pixels=LIMIT)
    assert b"SECRET" not in cleaned
    assert (width, height) == (53, 37)
    assert np.array_equal(decode(cleaned, max_pixels=LIMIT), decode(data, max_pixels=LIMIT))
    assert not dict(Pillow.open(io.BytesIO(cleaned)).getexif())
    assert clean(cleaned, max_pixels=LIMIT)[0] == cleaned  # nothing is left to do


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "lossless webp"])
def test_clean_does_not_encode_anew_what_is_in_order(kind):
    assert abs(len(clean(KINDS[kind], max_pixels=LIMIT)[0]) - len(KINDS[kind])) <= 64


def test_filling_between_jpeg_segments_is_legal():
    """T.81 B.1.1.2: any marker may be preceded by FF bytes."""
    data = KINDS["jpeg"]
    start = data.index(b"\xff\xdb")
    filled = data[:start] + b"\xff\xff\xff" + data[start:-2] + b"\xff\xff" + data[-2:]
    cleaned, width, height = clean(filled, max_pixels=LIMIT)
    assert (width, height) == (53, 37)
    assert np.array_equal(decode(cleaned, max_pixels=LIMIT), decode(data, max_pixels=LIMIT))


def test_damaged_exif_does_not_cost_the_image():
    data = encode("JPEG", IMAGE, quality=90)
    body = b"Exif\0\0II*\0\xff\xff\xff\xff garbage"
    data = data[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(body) + 2) + body + data[2:]
    cleaned, width, height = clean(data, max_pixels=LIMIT)
    assert (width, height) == (53, 37)
    assert b"garbage" not in cleaned


@pytest.mark.parametrize("kind", KINDS)
def test_damage_never_raises_anything_but_decode_error(kind):
    """Bytes flipped and cut off, 60 times per kind."""
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    for trial in range(60):
        data = bytearray(KINDS[kind])
        for _ in range(1 + trial % 4):
            at = int(rng.integers(0, len(data))) if trial % 2 else int(rng.integers(0, min(200, len(data))))
            data[at] = int(rng.integers(0, 256))
        if trial % 5 == 0:
            data = data[: int(rng.integers(0, len(data)))]
        for read in (decode, halved, image_shape, clean):
            with contextlib.suppress(DecodeError):
                assert len(read(bytes(data), max_pixels=1_000_000)) > 0
