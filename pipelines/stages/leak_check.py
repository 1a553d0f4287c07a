"""How many test samples the pre-training shards hold, or nearly hold.

Shapes: n rows of a split.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines import leaks
from pipelines.artifacts import ShardSet
from pipelines.config import SetupConfig
from pipelines.features import FeatureSet
from pipelines.leaks import Hashes
from pipelines.manifest import Manifest
from pipelines.scores import Leaks
from pipelines.stages.hashing import hashes, small

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def find(config: SetupConfig, shards: ShardSet, listing: Manifest, root: Path, encoder: FeatureSet) -> Leaks:
    """Compare every test sample with every train sample: bytes, pictures, features.

    Args:
        root: keeps the hashes of the shards.
        encoder: its features, of at most `evaluate.max_samples` of each split.
    """
    from pipelines.stages.views import rows_at

    def gray(split: Literal["train", "test"], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return rows_at(small(config), shards.folder, listing, split, rows)["view0"].astype(np.float32) @ _LUMA

    kept = hashes(config, shards.folder, listing, root)
    train, test = (Hashes(kept[f"{s}_id"], kept[f"{s}_phash"].view(np.uint64)) for s in ("train", "test"))
    return leaks.summarize(
        {
            "bytes": leaks.equal_bytes(shards.folder),
            "phash": leaks.alike_pictures(train, test, gray),
            "features": leaks.alike_features(encoder.load("train"), encoder.load("test")),
        },
        len(test.sample_id),
        shards.folder,
        listing,
    )
