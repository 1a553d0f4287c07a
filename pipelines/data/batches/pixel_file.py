"""The decoded pixels of one row group, in a file that is mapped.

The pixels of its rows one after the other, a table [n, 4] int64 (offset, height, width, CRC-32; height 0: the row does
not decode), and [2] int64: n and the CRC-32 of the table. So a file that is cut short has no table that fits, and is
not used.

Shapes: n rows of a row group.
"""

import mmap
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_core.codecs._image.decode import DecodeError, decode, image_shape
from ssl_core.codecs._image.resize import Image

Shapes = list[tuple[int, int]]
"""Height and width of each row; 0 where there are no pixels."""
_ENTRY, _END = 4 * 8, 2 * 8  # bytes per row in the table, and after it


class Pixels:
    """The decoded rows of one row group."""

    def __init__(self, path: Path, data: NDArray[np.uint8], table: NDArray[np.int64]):
        self._path, self._data, self._table = path, data, table

    def row(self, row: int) -> Image | None:
        """[H, W, 3] uint8, read-only; None: the row does not decode, or the file is damaged, and is made anew later."""
        offset, height, width, crc = self._table[row].tolist()
        if not height:
            return None
        flat = self._data[offset : offset + height * width * 3]
        if zlib.crc32(flat.data) != crc:
            self._path.unlink(missing_ok=True)
            return None
        return flat.reshape(height, width, 3)


def shapes_of(images: Sequence[bytes], max_pixels: int) -> Shapes:
    """By the headers: no pixel is decoded."""
    return [_shape(data, max_pixels) for data in images]


def num_bytes(shapes: Shapes) -> int:
    """How large a file of such pictures becomes."""
    return sum(3 * height * width for height, width in shapes) + _ENTRY * len(shapes) + _END


def write(path: Path, images: Sequence[bytes], shapes: Shapes, max_pixels: int) -> None:
    """Decode row by row into a file that appears whole; with no more pixels than `shapes` say."""
    table = np.zeros((len(images), 4), np.int64)  # [n, 4]
    aside, offset = path.with_suffix(".part"), 0
    try:
        with aside.open("wb") as file:
            for row, (data, shape) in enumerate(zip(images, shapes, strict=True)):
                try:
                    image = np.ascontiguousarray(decode(data, max_pixels=max_pixels))
                except DecodeError:
                    continue  # whoever needs the row finds out again, and puts it on record
                if image.shape[:2] == shape:
                    table[row] = offset, *shape, zlib.crc32(image.data)
                    offset += file.write(image.data)
            file.write(table.data)
            file.write(np.array([len(table), zlib.crc32(table.data)], np.int64).data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def opened(path: Path) -> Pixels | None:
    """A file whose table is whole, and with it all that stands before it; None: there is none."""
    try:
        with path.open("rb") as file:
            data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError):  # not there, or empty
        return None
    if len(data) < _END:
        return None
    num_rows, crc = np.frombuffer(data[-_END:].tobytes(), np.int64).tolist()
    begin = len(data) - _END - _ENTRY * num_rows
    if num_rows < 0 or begin < 0 or zlib.crc32(raw := data[begin:-_END].tobytes()) != crc:
        return None
    return Pixels(path, data, np.frombuffer(raw, np.int64).reshape(-1, 4))


def _shape(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Height and width; 0 where there will be no pixels."""
    try:
        return image_shape(data, max_pixels=max_pixels)
    except DecodeError:
        return 0, 0
