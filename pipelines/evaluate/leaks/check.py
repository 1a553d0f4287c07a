"""How many test samples the train split, or what an encoder was pre-trained on, holds or nearly holds.

Shapes: n rows of a split.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.config.run import SetupConfig
from pipelines.data.shards import content, manifest
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.evaluate.leaks import hashing, pairs
from pipelines.evaluate.leaks.pairs import Pairs, Shards
from pipelines.evaluate.scoring.scores import LeakKind, Leaks, Pretraining
from pipelines.model.card_file import read_card
from pipelines.storage.inputs import RECORD
from pipelines.train.artifact import Checkpoint


def find(config: SetupConfig, shards: ShardSet, listing: Manifest, root: Path, encoder: FeatureSet) -> Leaks:
    """Compare every test sample with every train sample: bytes, sketches where the codec has some, features.

    Args:
        root: keeps the hashes of the shards.
        encoder: its features, of at most `evaluate.max_samples` of each split.
    """
    here = Shards(shards.folder, listing)
    features: dict[LeakKind, Pairs] = {"features": pairs.alike_features(encoder.load("train"), encoder.load("test"))}
    return _compared(config, here, here, root, features)


def of_pretraining(config: SetupConfig, given: Checkpoint, listing: Manifest, root: Path) -> Pretraining | None:
    """Compare every test sample with what the encoder was pre-trained on: bytes and sketches.

    Not features: those of its pre-training samples are not known here.

    Returns: None where it was pre-trained on the train samples of these very shards, which `find` has looked at.
    """
    trained_on = read_card(given.folder).shards
    if trained_on == given.shards.digest:
        return None
    if not trained_on:
        return Pretraining(missing="what this encoder was pre-trained on is not known")
    records = (root.parent / "ingest").glob(f"*/{RECORD}")
    known = (ShardSet.model_validate_json(record.read_text()) for record in records)
    there = next((each.folder for each in known if each.digest == trained_on), None)
    if there is None:
        missing = f"the shards it was pre-trained on ({trained_on[:12]}...) are not in this storage"
        return Pretraining(shards=trained_on, missing=missing)
    train = Shards(there, manifest.load(there))
    found = _compared(config, Shards(given.shards.folder, listing), train, root, {})
    return Pretraining(shards=trained_on, leaks=found)


def _compared(config: SetupConfig, test: Shards, train: Shards, root: Path, more: Mapping[LeakKind, Pairs]) -> Leaks:
    from pipelines.data.batches.stream import rows_at

    codec = hashing.codec(config)

    def similarity(of_test: NDArray[np.int64], of_train: NDArray[np.int64]) -> NDArray[np.float32]:
        small = hashing.small(config)
        a, b = rows_at(small, *test, "test", of_test)["view0"], rows_at(small, *train, "train", of_train)["view0"]
        return codec.similarity(a, b)

    near: dict[LeakKind, Pairs] = {}
    if codec.sketch_view is not None:
        of_train, _ = hashing.of_splits(config, *train, root)
        _, of_test = hashing.of_splits(config, *test, root)
        near["phash"] = pairs.alike_samples(of_train, of_test, similarity)
    missing = content.missing(*test) or content.missing(*train)
    found: dict[LeakKind, Pairs] = {
        **({} if missing else {"bytes": pairs.equal_bytes(content.paths(*test), content.paths(*train))}),
        **near,
        **more,
    }
    return pairs.summarize(found, test.listing.num_rows("test"), test, train, missing)
