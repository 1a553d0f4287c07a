"""The artifact of pre-training: a checkpoint."""

from pathlib import Path

from pipelines.data.shards.shard_set import ShardSet
from pipelines.stage import Artifact


class Checkpoint(Artifact):
    shards: ShardSet
    folder: Path
    """Holds method.safetensors, optimizer.safetensors and state.json; see pipelines/storage/checkpoint.py.

    For a model that is only evaluated: the packed encoder, see pipelines/model/loader.py.
    """
    step: int
