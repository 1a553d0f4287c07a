"""Small real image files, good and bad, for tests of reading."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_core.codecs import image as images
from ssl_core.config import NamedConfig

ORIENTATION, ARTIST = 0x0112, 0x013B


def pixels(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Random blocks of 4 px, so that JPEG keeps them recognizable: [H, W, C] or [H, W] uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, channels), dtype=np.uint8)
    return coarse.repeat(4, 0).repeat(4, 1)[:height, :width].squeeze()


def encoded(
    seed: int, height: int = 24, width: int = 32, kind: str = "PNG", *, channels: int = 3, exif: int = 0
) -> bytes:
    image, buffer = Image.fromarray(pixels(seed, height, width, channels)), BytesIO()
    if exif:
        tags = Image.Exif()
        tags[ORIENTATION], tags[ARTIST] = exif, "a private name"
        image.save(buffer, kind, exif=tags)
    else:
        image.save(buffer, kind)
    return buffer.getvalue()


def bomb(side: int = 20_000) -> bytes:
    """A valid PNG header for side x side pixels with almost no data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def write_tree(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def good_tree(root: Path, count: int = 12) -> Path:
    """Nested folders a/, a/deep/, b/ of mixed sizes, grey and color, JPEG and PNG."""
    files = {}
    for i in range(count):
        folder, kind = ("a", "a/deep", "b")[i % 3], ("JPEG", "PNG")[i % 2]
        suffix = {"JPEG": ("jpg", "JPEG")[i % 4 // 2], "PNG": "png"}[kind]
        files[f"{folder}/{i:03d}.{suffix}"] = encoded(i, 16 + i % 30, 40 - i % 30, kind, channels=(3, 1)[i % 5 == 0])
    return write_tree(root, files)


def bad_files() -> dict[str, bytes]:
    """Name -> content of files that must be quarantined."""
    return {
        "a/bomb.png": bomb(),
        "a/notes.txt": b"not a picture",
        "a/text.jpg": b"this is text, not a picture",
        "b/truncated.jpg": encoded(90, 64, 64, "JPEG")[:900],
        "b/truncated.png": encoded(91, 64, 64)[:200],
        "b/zero.png": b"",
    }


def image_fields(max_pixels: int) -> dict[str, NamedConfig]:
    """The fields of a sample that is one image."""
    return {"image": images.Image.Config(max_pixels=max_pixels)}
