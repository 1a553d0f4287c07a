"""Encoded images to pixels, and raw files to files worth storing.

OpenCV decodes ordinary JPEG and PNG at about twice the speed of Pillow; Pillow does the rest. Transparent pixels are
laid over white, as a viewer would show them: the color stored under full transparency is arbitrary.

Shapes: H height, W width.
"""

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from ssl_core.codecs._image.container import (
    JPEG_START,
    PNG_START,
    Header,
    jpeg_header,
    png_header,
    strip_metadata,
)
from ssl_core.codecs._image.opencv import cv2
from ssl_core.codecs._image.resize import Image
from ssl_core.codecs.base import DecodeError

__all__ = ["DecodeError", "clean", "decode", "image_shape", "largest_of_16_bits"]

# An allow-list: Pillow also knows formats that start other programs (EPS runs Ghostscript).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# What Pillow's decoders raise on damaged files, by a fuzz test of all formats (test_augment_decode.py).
_PILLOW_FAULTS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(struct.error, zlib.error),
)
_ORIENTATION = 0x0112
_UPRIGHT = {  # EXIF orientation -> what makes it 1
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
_REDUCED = {  # flags that tell OpenCV's JPEG decoder to shrink while it decodes; alone they would ask for gray
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def image_shape(data: bytes, *, max_pixels: int) -> tuple[int, int]:
    """Height and width by the header; no pixel is decoded.

    Raises:
        DecodeError: as in `decode`, where the header or, in JPEG and PNG, the end of the file shows it.
    """
    header = _checked_header(data, max_pixels)
    return header.height, header.width


def decode(data: bytes, *, max_pixels: int, reduction: int = 1) -> Image:
    """Decode JPEG, PNG, WebP, GIF, BMP, TIFF or PPM; the first frame of several.

    Gray, palette, CMYK and 16-bit pixels become 8-bit RGB; alpha is laid over white. EXIF orientation is ignored:
    `clean` has applied it at ingest.

    Args:
        data: the encoded file.
        max_pixels: larger images are refused by their header, before any memory is taken for pixels.
        reduction: 1, 2, 4 or 8. A JPEG of one or three channels comes with 1 / reduction of its pixels on each side,
            rounded up, for less work; everything else comes whole.
    Returns: [H, W, 3] uint8 RGB.
    Raises:
        DecodeError: empty, not an image, truncated, corrupt or too large. Nothing is padded or grayed.
    """
    if not _checked_header(data, max_pixels).is_plain:
        return _rgb(_load(data))
    return _opencv_pixels(data, reduction if data.startswith(JPEG_START) else 1)


def clean(data: bytes, *, max_pixels: int) -> tuple[bytes, int, int]:
    """Make a raw file fit to store: verified, upright, free of metadata.

    Both decoders read every pixel once. EXIF orientation is applied; EXIF (with its GPS position), XMP, comments,
    color profiles and thumbnails are dropped. JPEG, PNG and simple WebP keep their encoded pixels bit for bit; what
    must be turned is encoded anew (JPEG at quality 95 without chroma subsampling, anything else as PNG), and so
    are GIF, BMP, TIFF, PPM and extended WebP (as PNG).

    Args:
        data: the raw file.
        max_pixels: larger images are refused by their header.
    Returns: the bytes to store, width, height (after turning).
    Raises:
        DecodeError: as in `decode`.
    """
    _checked_header(data, max_pixels)
    orientation = _orientation(_load(data))
    stripped = strip_metadata(data)
    if orientation == 1 and stripped is not None:
        height, width, _ = decode(stripped, max_pixels=max_pixels).shape
        return stripped, width, height
    image = Pillow.fromarray(decode(data, max_pixels=max_pixels))
    if orientation != 1:
        image = image.transpose(_UPRIGHT[orientation])
    encoded = io.BytesIO()
    if data.startswith(JPEG_START):
        image.save(encoded, "JPEG", quality=95, subsampling=0)
    else:
        image.save(encoded, "PNG")
    return encoded.getvalue(), image.width, image.height


def largest_of_16_bits(data: bytes) -> int | None:
    """The largest value of a gray image of 16 bits a pixel, PNG, TIFF or PGM; None: an image of another kind.

    Args:
        data: a file that `clean` has taken.
    """
    if data.startswith(JPEG_START) or (data.startswith(PNG_START) and data[24:26] != b"\x10\x00"):
        return None
    if not (_open(data).mode.startswith("I")):
        return None
    return int(np.asarray(_load(data)).max())


def _checked_header(data: bytes, max_pixels: int) -> Header:
    if not data:
        raise DecodeError("empty file")
    if data.startswith(JPEG_START):
        header = jpeg_header(data)
    elif data.startswith(PNG_START):
        header = png_header(data)
    else:
        width, height = _open(data).size
        header = Header(width, height, is_plain=False)
    pixels = header.width * header.height
    if pixels == 0:
        raise DecodeError("corrupt image (no pixels)")
    if pixels > max_pixels:
        raise DecodeError(f"{pixels / 1e6:.1f} megapixels exceed ingest.max_pixels {max_pixels}")
    return header


def _opencv_pixels(data: bytes, reduction: int) -> Image:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[reduction]
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DecodeError(f"corrupt image ({error.err})") from error
    if pixels is None:
        raise DecodeError("corrupt image")
    return np.asarray(pixels, np.uint8)


def _open(data: bytes) -> Pillow.Image:
    """Read the header only."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about size, which max_pixels limits, and about damaged EXIF
            return Pillow.open(io.BytesIO(data), formats=_FORMATS)
    except Pillow.DecompressionBombError as error:
        raise DecodeError("more pixels than Pillow agrees to decode") from error
    except UnidentifiedImageError as error:
        phone = data[4:8] == b"ftyp"  # the container of HEIC and AVIF, which cameras of phones write
        raise DecodeError("HEIC and AVIF are not read; convert to JPEG or PNG" if phone else "not an image") from error
    except _PILLOW_FAULTS as error:
        raise DecodeError(f"corrupt image ({error})") from error


def _load(data: bytes) -> Pillow.Image:
    image = _open(data)
    try:
        image.load()
    except _PILLOW_FAULTS as error:
        kind = "truncated" if "truncated" in str(error) else "corrupt"
        raise DecodeError(f"{kind} {image.format}") from error
    return image


def _orientation(image: Pillow.Image) -> int:
    """1..8; EXIF that cannot be read says nothing about orientation and leaves it at 1, as viewers do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF: see above
            value = image.getexif().get(_ORIENTATION, 1)
    except _PILLOW_FAULTS:
        return 1
    return value if value in _UPRIGHT else 1


def _rgb(image: Pillow.Image) -> Image:
    if image.mode in ("I", "F") and not (image.mode == "I" and image.format == "PPM"):
        raise DecodeError(f"{image.format} with 32-bit pixels has no defined range")
    if image.mode.startswith("I"):  # of a PGM Pillow makes "I", scaled from the file's own range to 16 bits
        gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)  # [H, W]
        return np.repeat(gray[:, :, None], 3, axis=2)  # [H, W, 3]
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"))  # [H, W, 3]
