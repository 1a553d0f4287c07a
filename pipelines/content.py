"""What ingest noted of each sample's bytes, one table per part: where these tables lie, and whether all are there."""

from pathlib import Path

from pipelines.data.shards.manifest import Manifest, sha256_of
from pipelines.storage import parquet

PARTS = "parts"


def paths(folder: Path, listing: Manifest) -> list[Path]:
    """The tables of a folder of shards, in the order of the parts; those that are there, where the manifest is older
    than their list."""
    if listing.content is None:
        return sorted((folder / PARTS).glob("*-content.parquet"))
    return [folder / file.path for file in listing.content]


def missing(folder: Path, listing: Manifest) -> str:
    """Why the tables cannot be relied on to speak of every sample; empty: they can.

    Raises:
        OSError: the storage cannot be read just now.
    """
    for path, file in zip(paths(folder, listing), listing.content or (), strict=listing.content is not None):
        if not path.is_file():
            return f"{path}, which ingest noted the samples' bytes in, is missing"
        if sha256_of(path) != file.sha256:
            return f"{path}: its sha256 is not the one in the manifest"
    if listing.content is not None:
        return ""
    num_noted = 0
    for path in paths(folder, listing):
        with parquet.opened(path) as noted:
            num_noted += noted.metadata.num_rows
    num_samples = listing.num_rows("train") + listing.num_rows("test")
    if num_noted != num_samples:
        return f"{folder / PARTS} holds what ingest noted of {num_noted} of {num_samples} samples' bytes"
    return ""
