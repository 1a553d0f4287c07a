"""JPEG, PNG and WebP files as containers: read the size, notice truncation, drop metadata; pixels stay encoded.

Sources: JPEG is ITU-T T.81 annex B, PNG is https://www.w3.org/TR/png-3/, WebP is RFC 9649.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from ssl_core.codecs.base import DecodeError

JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n"

_SOI, _EOI, _SOS, _APP0, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE, 0xFE
_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # SOF: frame headers
# A marker, also amid compressed data: neither a stuffed FF00 nor a restart marker, nor FF before FF, which is filling.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


class Header(NamedTuple):
    """What a file says of itself before any pixel is decoded."""

    width: int
    height: int
    is_plain: bool
    """OpenCV decodes it right: one or three 8-bit channels in JPEG; in PNG no transparency and no animation."""


class _Segment(NamedTuple):
    marker: int
    start: int
    """Of the marker."""
    end: int
    """Of the payload; for a scan, where its compressed data begins."""


def jpeg_header(data: bytes) -> Header:
    """Size and kind of a JPEG; raises DecodeError where the file ends before its image does."""
    frame = None
    for segment in _segments(data):
        if segment.marker in _SIZES and frame is None:
            if segment.end - segment.start < 10:
                raise DecodeError("corrupt JPEG (short frame header)")
            frame = struct.unpack_from(">BHHB", data, segment.start + 4)
        if segment.marker == _SOS:
            break
    if frame is None:
        raise DecodeError("corrupt JPEG (no frame header)")
    # ordinary files end with the end-of-image marker; others may carry something behind it
    if not data.endswith(b"\xff\xd9") and data.find(b"\xff\xd9", segment.end) < 0:
        raise DecodeError("truncated JPEG")
    precision, height, width, channels = frame
    return Header(width, height, is_plain=precision == 8 and channels in (1, 3))


def png_header(data: bytes) -> Header:
    """Size and kind of a PNG; raises DecodeError where a chunk is missing or its checksum is wrong."""
    names = [name for name, _ in _chunks(data)]
    if names[0] != b"IHDR" or len(data) < 33:
        raise DecodeError("corrupt PNG (no header)")
    width, height, _, color_type = struct.unpack_from(">IIBB", data, 16)
    has_alpha = color_type in (4, 6) or b"tRNS" in names
    return Header(width, height, is_plain=not has_alpha and b"acTL" not in names)


def strip_metadata(data: bytes) -> bytes | None:
    """The same encoded pixels without EXIF, XMP, comments, color profiles, thumbnails and trailing bytes.

    Returns: None where only a new encoding could do that.
    Raises:
        DecodeError: the container is truncated or corrupt.
    """
    if data.startswith(JPEG_START):
        return b"\xff\xd8" + b"".join(_kept_of_jpeg(data))
    if data.startswith(PNG_START):
        return PNG_START + b"".join(chunk for name, chunk in _chunks(data) if name in _PIXEL_CHUNKS)
    if data[:4] == b"RIFF" and data[8:15] == b"WEBPVP8" and data[15:16] in b" L":
        return data[: 8 + int.from_bytes(data[4:8], "little")]  # simple WebP: one chunk, no place for metadata
    return None


def _kept_of_jpeg(data: bytes) -> Iterator[bytes]:
    for marker, start, end in _segments(data):
        payload = data[start + 4 : end]
        if marker == _SOS:
            found = _MARKER.search(data, end)
            yield data[start : found.start() if found else len(data)]
        elif marker == _APP0:
            if payload.startswith(b"JFIF\0") and len(payload) >= 14:  # says how color is coded; thumbnail dropped
                yield b"\xff\xe0\x00\x10" + payload[:12] + b"\0\0"
        elif marker == _APP14:
            if payload.startswith(b"Adobe") and len(payload) >= 12:  # says how color is coded
                yield b"\xff\xee\x00\x0e" + payload[:12]
        elif not _APP0 < marker <= 0xEF and marker != _COM:
            yield data[start:end]


def _segments(data: bytes) -> Iterator[_Segment]:
    """Every marker segment after the start of the image, up to and with its end."""
    at = 2
    while found := _MARKER.search(data, at):
        marker, start = found[1][0], found.start()
        if marker == _EOI:
            yield _Segment(marker, start, start + 2)
            return
        if marker == _SOI or len(data) < start + 4:
            raise DecodeError("corrupt JPEG (misplaced marker)" if marker == _SOI else "truncated JPEG")
        at = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if at > len(data):
            raise DecodeError("truncated JPEG")
        yield _Segment(marker, start, at)
    raise DecodeError("truncated JPEG")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and whole bytes of every PNG chunk up to IEND, checksums verified."""
    at, name = len(PNG_START), b""
    while name != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if len(data) < at + 12 or len(data) < end:
            raise DecodeError("truncated PNG")
        name = data[at + 4 : at + 8]
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise DecodeError("corrupt PNG (wrong checksum)")
        yield name, data[at:end]
        at = end
