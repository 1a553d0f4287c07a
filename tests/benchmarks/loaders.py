"""What users would pick instead of our data path: three torch DataLoaders, each in its strongest plain form.

All give batches of two views in this process, normalized float32 [B, 3, size, size]. Workers live on from round to
round, and an "epoch" is as long as a round, so that starting is not charged.

Shapes: B images of a batch, n images of a row group.
"""

from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from ssl_core.augment._image.base import MEAN, STD
from ssl_core.augment.image_crop_jitter import ImageCropJitter
from ssl_core.codecs._image.decode import decode
from ssl_core.noise import salt
from tests.benchmarks.peers import torchvision_view

MAX_PIXELS = 50_000_000
Pair = tuple[Tensor, Tensor]


class PerImage(Dataset[Pair]):
    """torchvision v2 on one file at a time; `tensors` says which of its two inputs (the faster one at that size)."""

    def __init__(self, files: list[Path], size: int, length: int, tensors: bool):
        self.files, self.length, self.tensors = files, length, tensors
        to_float = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        normalize = v2.Normalize([mean / 255 for mean in MEAN], [std / 255 for std in STD])
        self.view = v2.Compose([torchvision_view(size), *to_float, normalize])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Pair:
        path = self.files[index % len(self.files)]
        image: Any = decode_image(str(path), ImageReadMode.RGB) if self.tensors else Pillow.open(path).convert("RGB")
        return self.view(image), self.view(image)


class InBatches(Dataset[Pair]):
    """Our decoding and augmentation on a batch of files at a time; gives uint8 views [B, size, size, 3]."""

    def __init__(self, files: list[Path], size: int, length: int):
        self.files, self.length = files, length
        self.chain = ImageCropJitter(ImageCropJitter.Config(size=size))

    def __len__(self) -> int:
        return self.length

    def __getitems__(self, indices: list[int]) -> Pair:
        chosen = [self.files[index % len(self.files)] for index in indices]
        images = [decode(path.read_bytes(), max_pixels=MAX_PIXELS) for path in chosen]
        return two_views(self.chain, images, np.array(indices))


class FromShards(Dataset[Pair]):
    """Our decoding and augmentation on a row group of our shards at a time; gives uint8 views [n, size, size, 3]."""

    def __init__(self, shards: list[Path], size: int, length: int):
        self.groups = [(path, i) for path in shards for i in range(pq.read_metadata(path).num_row_groups)]
        images = sum(pq.read_metadata(path).num_rows for path in shards)
        self.length = length * len(self.groups) // images
        self.chain = ImageCropJitter(ImageCropJitter.Config(size=size))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Pair:
        path, group = self.groups[index % len(self.groups)]
        with pq.ParquetFile(path, memory_map=True) as file:
            table = file.read_row_group(group, columns=["sample_id", "image"])
        images = [decode(data.as_py(), max_pixels=MAX_PIXELS) for data in table["image"]]
        return two_views(self.chain, images, table["sample_id"].to_numpy())


def two_views(chain: ImageCropJitter, images: list[Any], ids: Any) -> Pair:
    first, second = (torch.from_numpy(chain(images, ids, salt(0, view))) for view in range(2))
    return first, second


def loader(dataset: Dataset[Pair], batch: int | None) -> DataLoader[Any]:
    """Two workers, shuffled; batch None: the data set's items are batches."""
    processes = get_context("forkserver")  # forks of a process that has no threads and has imported everything
    processes.set_forkserver_preload(["tests.benchmarks.loaders"])
    return DataLoader(
        dataset,
        batch_size=batch,
        shuffle=True,
        num_workers=2,
        collate_fn=_whole if isinstance(dataset, InBatches) else None,
        persistent_workers=True,
        multiprocessing_context=processes,
    )


def rebatched(groups: DataLoader[Any], batch: int) -> Iterator[Pair]:
    """Row groups of any size to batches; the last, incomplete one is left out."""
    held: list[Pair] = []
    for group in groups:
        held.append(group)
        while sum(len(first) for first, _ in held) >= batch:
            first, second = (torch.cat(views) for views in zip(*held, strict=True))
            yield first[:batch], second[:batch]
            held = [(first[batch:], second[batch:])]


def _whole(views: Any) -> Any:
    """It is a batch already."""
    return views
