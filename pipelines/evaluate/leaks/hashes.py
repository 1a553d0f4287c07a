"""Perceptual hashes of every sample of a data set, on the disk: a window of them per file, 16 bytes a sample.

Shapes: n samples of one split in a window.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from pipelines.data.sources.base import Split
from pipelines.storage.atomic import write_aside


class Hashes(NamedTuple):
    """Some samples of one split, in the order of the shards."""

    sample_id: NDArray[np.int64]  # [n]
    phash: NDArray[np.uint64]  # [n]

    def part(self, rows: slice) -> "Hashes":
        return Hashes(self.sample_id[rows], self.phash[rows])


@dataclass(frozen=True)
class StoredHashes:
    """All hashes of one split, in the order of the shards; one window of them is in memory at a time."""

    folder: Path
    split: Split

    def __iter__(self) -> Iterator[Hashes]:
        for path in sorted(self.folder.glob("*.safetensors")):
            with safe_open(path, "np") as file:
                yield Hashes(file.get_tensor(f"{self.split}_id"), file.get_tensor(f"{self.split}_phash"))


def window_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.safetensors"


def keep(path: Path, train: Hashes, test: Hashes) -> None:
    """Write one window, which may hold samples of both splits."""
    tensors: dict[str, NDArray[Any]] = {"train_id": train.sample_id, "train_phash": train.phash}
    tensors |= {"test_id": test.sample_id, "test_phash": test.phash}
    with write_aside(path) as file:
        file.write(save(tensors))
