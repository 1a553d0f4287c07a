"""Frozen features of a split, computed once per (encoder, shards) and kept on disk.

Shapes: N samples of the split, D feature width.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipelines.storage.atomic import write_tensors
from ssl_core.config import Config
from ssl_core.evaluate.base import Labelled


class FeatureSet(Config):
    """Where the features of both splits lie."""

    folder: Path

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        """Features [N, D] float32 and sample ids [N] int64."""
        tensors = load_file(self.folder / f"{split}.safetensors")
        return tensors["features"], tensors["sample_id"]

    def has(self, split: str) -> bool:
        return (self.folder / f"{split}.safetensors").exists()

    def labelled(self, split: str, labels: Mapping[int, int]) -> Labelled:
        """A split's features with the class number of each sample."""
        features, sample_id = self.load(split)
        return Labelled(features, torch.tensor([labels[i] for i in sample_id.tolist()]))

    def keep(self, split: str, features: Tensor, sample_id: Tensor) -> None:
        write_tensors(self.folder / f"{split}.safetensors", {"features": features, "sample_id": sample_id})
