"""Perceptual hashes of every sample of the shards, streamed window by window once per data set.

Shapes: B samples of a batch, n of a window.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config import codecs
from pipelines.config.flat import fingerprint
from pipelines.config.run import SetupConfig
from pipelines.data.shards.manifest import Manifest
from pipelines.evaluate.leaks import hashes
from pipelines.evaluate.leaks.hashes import Hashes, StoredHashes
from pipelines.runtime import session
from ssl_core.build import build_codec
from ssl_core.catalog import find
from ssl_core.codecs.base import Codec
from ssl_core.config import NamedConfig

if TYPE_CHECKING:
    from ray.data import Dataset

WHOLE = "whole"
"""A file that is there once all windows are."""


def of_splits(config: SetupConfig, shards: Path, listing: Manifest, root: Path) -> tuple[StoredHashes, StoredHashes]:
    """Hashes of train and of test; the windows that an interrupted run has made are kept.

    In memory are those of one window and its planned rows, however many samples there are.
    """
    from pipelines.data.batches.stream import BLOCKS_AT_ONCE, whole_splits

    folder = root / fingerprint([listing.digest, *_identity(config), BLOCKS_AT_ONCE])[:16]
    if not (folder / WHOLE).exists():
        session.connect(config)
        folder.mkdir(parents=True, exist_ok=True)
        for number, (data, num_train) in enumerate(whole_splits(small(config), shards, listing)):
            path = hashes.window_path(folder, number)
            if not path.exists():
                found = _streamed(data, codecs.of_view(config, config.views["eval"]))
                hashes.keep(path, found.part(slice(num_train)), found.part(slice(num_train, None)))
        (folder / WHOLE).touch()
    return StoredHashes(folder, "train"), StoredHashes(folder, "test")


def codec(config: SetupConfig) -> Codec[Any]:
    """Of the samples that are compared."""
    return build_codec(codecs.of_view(config, config.views["eval"]))


def small(config: SetupConfig) -> SetupConfig:
    """The same run, whose eval view is what sketches are made of."""
    view = dict(codec(config).sketch_view or {})
    return config.model_copy(
        update={"views": {"eval": find("ssl_core.augment", view["name"]).Config.model_validate(view)}}
    )


def _identity(config: SetupConfig) -> list[Any]:
    """What tells these sketches from others of the same shards."""
    view = dict(codec(config).sketch_view or {})
    return ["phash", view["size"]] if view.get("name") == "image_eval" else [view]


def sketched(batch: dict[str, NDArray[Any]], config: NamedConfig) -> dict[str, NDArray[Any]]:
    """[B, ...] views to [B] sketches, as int64."""
    made = build_codec(config).sketches(batch["view0"])
    return {"sample_id": batch["sample_id"], "phash": made.view(np.int64)}


def _streamed(data: "Dataset", config: NamedConfig) -> Hashes:
    made = data.map_batches(sketched, batch_format="numpy", fn_args=(config,))
    parts = list(made.iter_batches(batch_size=None, batch_format="numpy"))
    sample_id, phash = (np.concatenate([part[name] for part in parts]) for name in ("sample_id", "phash"))  # [n]
    return Hashes(sample_id, phash.view(np.uint64))
