"""Perceptual hashes of every sample of the shards, streamed once per data set and kept.

Imports no torch, as its function runs in Ray Data's processes.

Shapes: B samples of a batch, N of a split.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pipelines.config import SetupConfig, fingerprint
from pipelines.manifest import Manifest
from pipelines.stages import engine
from ssl_core.catalog import find
from ssl_core.perceptual_hash import perceptual_hash

SIDE = 32
"""Pixels a side that the hash sees, of the center square: so a JPEG may shrink while it is decoded."""


def hashes(config: SetupConfig, shards: Path, listing: Manifest, root: Path) -> dict[str, NDArray[np.int64]]:
    """`train_id` and `train_phash` [N], `test_id` and `test_phash`: 16 bytes a sample, never the pictures.

    While they are made it is 48: the planned rows of all read tasks, the hashes as they come, and those put together.
    """
    path = root / fingerprint([listing.digest, "phash", SIDE])[:16] / "hashes.safetensors"
    if not path.exists():
        _stream(config, shards, listing, path)
    return dict(load_file(path))


def small(config: SetupConfig) -> SetupConfig:
    """The same run, whose eval view is what the hash sees."""
    square = find("ssl_core.augment", "image_eval").Config(size=SIDE, crop_fraction=1.0)
    return config.model_copy(update={"views": {"eval": square}})


def hashed(batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """[B, S, S, 3] views to [B] hashes, as int64."""
    return {"sample_id": batch["sample_id"], "phash": perceptual_hash(list(batch["view0"])).view(np.int64)}


def _stream(config: SetupConfig, shards: Path, listing: Manifest, path: Path) -> None:
    from pipelines.stages.views import both_splits

    engine.connect(config)
    engine.data_context(cpus=1 + config.data.cpus)
    data, num_train = both_splits(small(config), shards, listing, limit=None)
    parts = list(data.map_batches(hashed, batch_format="numpy").iter_batches(batch_size=None, batch_format="numpy"))
    sample_id, phash = (np.concatenate([part[name] for part in parts]) for name in ("sample_id", "phash"))  # [N]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    save_file(
        {
            "train_id": sample_id[:num_train],
            "train_phash": phash[:num_train],
            "test_id": sample_id[num_train:],
            "test_phash": phash[num_train:],
        },
        aside,
    )
    aside.replace(path)
