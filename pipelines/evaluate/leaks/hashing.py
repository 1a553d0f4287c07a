"""Perceptual hashes of every sample of the shards, streamed window by window once per data set.

Shapes: B samples of a batch, n of a window.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config.flat import fingerprint
from pipelines.config.run import SetupConfig
from pipelines.data.shards.manifest import Manifest
from pipelines.evaluate.leaks import hashes
from pipelines.evaluate.leaks.hashes import Hashes, Kept
from pipelines.runtime import session
from ssl_core.catalog import find
from ssl_core.codecs._image.perceptual_hash import perceptual_hash

if TYPE_CHECKING:
    from ray.data import Dataset

SIDE = 32
"""Pixels a side that the hash sees, of the center square: so a JPEG may shrink while it is decoded."""
WHOLE = "whole"
"""A file that is there once all windows are."""


def of_splits(config: SetupConfig, shards: Path, listing: Manifest, root: Path) -> tuple[Kept, Kept]:
    """Hashes of train and of test; the windows that an interrupted run has made are kept.

    In memory are those of one window and its planned rows, however many samples there are.
    """
    from pipelines.data.batches.stream import BLOCKS_AT_ONCE, whole_splits

    folder = root / fingerprint([listing.digest, "phash", SIDE, BLOCKS_AT_ONCE])[:16]
    if not (folder / WHOLE).exists():
        session.connect(config)
        folder.mkdir(parents=True, exist_ok=True)
        for number, (data, num_train) in enumerate(whole_splits(small(config), shards, listing)):
            path = hashes.window_path(folder, number)
            if not path.exists():
                found = _streamed(data)
                hashes.keep(path, found.part(slice(num_train)), found.part(slice(num_train, None)))
        (folder / WHOLE).touch()
    return Kept(folder, "train"), Kept(folder, "test")


def small(config: SetupConfig) -> SetupConfig:
    """The same run, whose eval view is what the hash sees."""
    square = find("ssl_core.augment", "image_eval").Config(size=SIDE, crop_fraction=1.0)
    return config.model_copy(update={"views": {"eval": square}})


def hashed(batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """[B, S, S, 3] views to [B] hashes, as int64."""
    return {"sample_id": batch["sample_id"], "phash": perceptual_hash(list(batch["view0"])).view(np.int64)}


def _streamed(data: "Dataset") -> Hashes:
    parts = list(data.map_batches(hashed, batch_format="numpy").iter_batches(batch_size=None, batch_format="numpy"))
    sample_id, phash = (np.concatenate([part[name] for part in parts]) for name in ("sample_id", "phash"))  # [n]
    return Hashes(sample_id, phash.view(np.uint64))
