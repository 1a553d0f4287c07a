"""The artifact of ingest: a folder of shards."""

from pathlib import Path

from pipelines.stage import Artifact


class ShardSet(Artifact):
    folder: Path
    """Holds manifest.json; see pipelines/data/shards/manifest.py."""
    num_train: int
    num_test: int
    num_classes: int | None
    """None when the source has no labels."""
    num_quarantined: int
    num_duplicates: int
