"""A few inputs and their embeddings, stored beside the weights: a check embeds them again and compares.

Shapes: K examples, D encoder width.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.schema import SAMPLES
from pipelines.errors import UserError
from pipelines.storage import parquet
from ssl_core.codecs._image.decode import decode
from ssl_core.noise import keyed_bits, salt

EXAMPLES = "examples.safetensors"
_EMBEDDINGS, _IMAGE = "embeddings", "image."
_DRAWN = salt(0xE8A)
_BLOCKS = 6
"""Blocks of one color along the shorter side of a drawn picture."""
_MANY = 1 << 26
"""More pixels than a picture that is stored with a version has."""


class Examples(NamedTuple):
    images: list[bytes]
    """K encoded files."""
    embeddings: Tensor  # [K, D] float32


def drawn(size: int) -> list[bytes]:
    """Five pictures as PNG, nobody's data: a gradient, and blocks of color in several shapes and sizes.

    Args:
        size: side of the encoder's view in pixels; most pictures are larger, so that they are cropped and resized.
    """
    ramp = np.linspace(0, 255, size).astype(np.uint8)  # [size]
    gradient = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(128)), axis=-1)  # [size, size, 3]
    half = max(1, size // 2)
    shapes = ((2 * size, 2 * size), (3 * half, 3 * size), (3 * size, 2 * size), (half, half))
    return [png(gradient), *(png(_blocks(index, *shape)) for index, shape in enumerate(shapes))]


def are_drawn(images: Sequence[bytes], size: int) -> bool:
    """Whether these are the pictures of `drawn`, by their pixels: PNG may be written in several ways."""
    ours = drawn(size)
    return len(images) == len(ours) and all(
        np.array_equal(decode(a, max_pixels=_MANY), decode(b, max_pixels=_MANY))
        for a, b in zip(images, ours, strict=True)
    )


def held_out(shards: Path, listing: Manifest, count: int) -> list[bytes]:
    """About `count` test samples as they are stored, spread over the split.

    Raises:
        UserError: there is no test split, or a shard cannot be read.
    """
    num_rows = listing.num_rows("test")
    if not num_rows:
        raise UserError("registry.examples: these shards have no test samples; set it to 0")
    wanted = np.unique(np.linspace(0, num_rows - 1, min(count, num_rows)).astype(np.int64))
    images, first = [], 0
    for file in listing.test:
        mine = wanted[(wanted >= first) & (wanted < first + file.num_rows)] - first
        first += file.num_rows
        try:
            column = parquet.table(shards / file.path, SAMPLES, ["image"])["image"] if len(mine) else ()
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"registry.examples: {shards / file.path}: cannot be read ({error})") from None
        images += [column[row].as_py() for row in mine.tolist()]
    return images


def write(path: Path, images: Sequence[bytes], embeddings: NDArray[np.float32]) -> None:
    """Store K encoded files and their embeddings [K, D]."""
    # copies: frombuffer's memory cannot be written to, which torch warns of
    files = {
        f"{_IMAGE}{row:05d}": torch.from_numpy(np.frombuffer(data, np.uint8).copy()) for row, data in enumerate(images)
    }
    save_file({_EMBEDDINGS: torch.from_numpy(embeddings.copy()), **files}, path)


def read(path: Path) -> Examples:
    """
    Raises:
        UserError: not a file of examples.
    """
    try:
        tensors = load(path.read_bytes())
        embeddings = tensors.pop(_EMBEDDINGS)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{path}: holds no examples ({error})") from None
    images = [tensors[name].numpy().tobytes() for name in sorted(tensors) if name.startswith(_IMAGE)]
    if embeddings.ndim != 2 or len(images) != len(embeddings) or not images:
        raise UserError(f"{path}: has {len(images)} images for embeddings of shape {tuple(embeddings.shape)}")
    return Examples(images, embeddings)


def _blocks(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """[H, W, 3]: coarse, so that the file is small and no resize rounds it away."""
    block = max(1, min(height, width) // _BLOCKS)
    rows, columns = -(-height // block), -(-width // block)
    bits = keyed_bits(np.array([index]), np.arange(rows * columns * 3), _DRAWN)  # [1, rows * columns * 3]
    coarse = (bits & 255).astype(np.uint8).reshape(rows, columns, 3)
    return coarse.repeat(block, 0).repeat(block, 1)[:height, :width]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """[H, W, 3] uint8 RGB -> the file."""
    buffer = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()
