"""A few inputs and their embeddings, stored beside the weights: a check embeds them again and compares.

Shapes: K examples, D encoder width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.schema import column_of_samples
from pipelines.errors import UserError

EXAMPLES = "examples.safetensors"
_EMBEDDINGS, _FILE = "embeddings", "image."
"""Names of tensors; the second is older than other kinds of samples."""


class Examples(NamedTuple):
    files: list[bytes]
    """K encoded files."""
    embeddings: Tensor  # [K, D] float32


def held_out(shards: Path, listing: Manifest, count: int) -> list[bytes]:
    """About `count` test samples as they are stored, spread over the split.

    Raises:
        UserError: there is no test split, or a shard cannot be read.
    """
    num_rows = listing.num_rows("test")
    if not num_rows:
        raise UserError("registry.examples: these shards have no test samples; set it to 0")
    wanted = np.unique(np.linspace(0, num_rows - 1, min(count, num_rows)).astype(np.int64))
    found, first = [], 0
    for file in listing.test:
        mine = wanted[(wanted >= first) & (wanted < first + file.num_rows)] - first
        first += file.num_rows
        try:
            column = column_of_samples(shards / file.path, "field")["field"] if len(mine) else ()
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"registry.examples: {shards / file.path}: cannot be read ({error})") from None
        found += [column[row].as_py() for row in mine.tolist()]
    return found


def write(path: Path, files: Sequence[bytes], embeddings: NDArray[np.float32]) -> None:
    """Store K encoded files and their embeddings [K, D]."""
    # copies: frombuffer's memory cannot be written to, which torch warns of
    tensors = {
        f"{_FILE}{row:05d}": torch.from_numpy(np.frombuffer(data, np.uint8).copy()) for row, data in enumerate(files)
    }
    save_file({_EMBEDDINGS: torch.from_numpy(embeddings.copy()), **tensors}, path)


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
    files = [tensors[name].numpy().tobytes() for name in sorted(tensors) if name.startswith(_FILE)]
    if embeddings.ndim != 2 or len(files) != len(embeddings) or not files:
        raise UserError(f"{path}: has {len(files)} samples for embeddings of shape {tuple(embeddings.shape)}")
    return Examples(files, embeddings)
