"""Images: JPEG, PNG, WebP, GIF, BMP, TIFF and PPM files as RGB pixels.

Shapes: H height, W width, B images.
"""

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydantic import PositiveInt

from ssl_core.codecs._image import decode as files
from ssl_core.codecs._image.container import JPEG_START
from ssl_core.codecs._image.drawn import drawn_images
from ssl_core.codecs._image.perceptual_hash import perceptual_hash
from ssl_core.codecs._image.resize import Image as Pixels
from ssl_core.codecs._image.shrink import shrunk
from ssl_core.codecs.base import Codec, DecodeError
from ssl_core.config import NamedConfig
from ssl_core.spec import ViewSpec

SKETCH_SIDE = 32
"""Pixels a side that the perceptual hash sees, of the center square: so a JPEG may shrink while it is decoded."""
_COARSE = 16
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Image(Codec[Pixels]):
    """Image files as [H, W, 3] uint8 RGB; JPEG, PNG and WebP keep their encoded pixels bit for bit."""

    sketch_view = {"name": "image_eval", "size": SKETCH_SIDE, "crop_fraction": 1.0}

    class Config(NamedConfig):
        name: Literal["image"] = "image"
        max_pixels: PositiveInt = 50_000_000
        """Larger images are refused by their header (decompression bombs)."""
        resize_shorter: PositiveInt | None = None
        """Images are stored with at most so many pixels on their shorter side; null: as they are."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def changes_values(self) -> bool:
        return self.config.resize_shorter is not None

    def clean(self, data: bytes) -> bytes:
        most, shorter = self.config.max_pixels, self.config.resize_shorter
        stored, width, height = files.clean(data, max_pixels=most)
        return stored if shorter is None else shrunk(stored, height, width, shorter=shorter, max_pixels=most)

    def decode(self, data: bytes, reduction: int = 1) -> Pixels:
        return files.decode(data, max_pixels=self.config.max_pixels, reduction=reduction)

    def reduces(self, data: bytes) -> bool:
        return data.startswith(JPEG_START)  # everything else comes whole

    def extent(self, data: bytes) -> tuple[int, int]:
        """Height and width."""
        return files.image_shape(data, max_pixels=self.config.max_pixels)

    def sketches(self, views: NDArray[Any]) -> NDArray[np.uint64]:
        """[B, S, S, 3] uint8 -> [B] perceptual hashes."""
        return perceptual_hash(list(views))

    def similarity(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float32]:
        """Correlation of 16 x 16 gray cells of [B, S, S, 3] and [B, S, S, 3] -> [B]; 0 where an image has one tone."""
        gray = [view.astype(np.float32) @ _LUMA for view in (a, b)]  # [B, S, S] each
        side = gray[0].shape[1] // _COARSE
        coarse = [x.reshape(len(x), _COARSE, side, _COARSE, side).mean(axis=(2, 4)) for x in gray]  # [B, 16, 16] each
        flat = [x.reshape(len(x), -1) - x.mean(axis=(1, 2))[:, None] for x in coarse]  # [B, 256] each
        scale = np.sqrt((flat[0] ** 2).sum(axis=1) * (flat[1] ** 2).sum(axis=1))  # [B]
        return np.asarray((flat[0] * flat[1]).sum(axis=1) / np.maximum(scale, 1e-6))

    def drawn(self, spec: ViewSpec, count: int = 5) -> list[bytes]:
        """A gradient, and blocks of color in several shapes and sizes, as PNG; most are larger than a view."""
        return [_png(pixels) for pixels in drawn_images(spec.shape[-1], count)]

    def encode(self, value: Any) -> bytes:
        """[H, W, 3] uint8 -> PNG."""
        return _png(self.checked(value))

    def checked(self, value: Any) -> Pixels:
        pixels: NDArray[Any] = np.asarray(value)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise DecodeError(f"give encoded bytes or a [H, W, 3] uint8 array, not {pixels.dtype} {pixels.shape}")
        return np.ascontiguousarray(pixels)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()
