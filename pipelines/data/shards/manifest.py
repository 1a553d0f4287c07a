"""manifest.json: what lies in a folder of shards, file by file.

A shard file `train/part-00000.parquet` has the columns sample_id (int64), image (binary, encoded
bytes) and origin (string); labels, where there are any, lie apart in `train/labels-00000.parquet`
(sample_id, label as string), so pre-training cannot read them by accident.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, ValidationError

from pipelines.data.shards.labels import Labels
from pipelines.errors import UserError
from pipelines.storage.checksum import sha256_of
from pipelines.storage.printable import printable
from pipelines.tracking.datasets import DatasetSummary
from ssl_core.augment.base import Augmentation
from ssl_core.catalog import find
from ssl_core.config import Config, NamedConfig

FORMAT = 1
IMAGES = {"image": ("image", 1)}
"""Fields of a manifest that names none."""
NAME = "manifest.json"


def _inside(path: str) -> str:
    """A manifest may have come with its folder from elsewhere: it names files below itself and no others."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path or not path:
        raise ValueError(f"'{path}' leads outside the folder of the manifest")
    return path


Inside = Annotated[str, AfterValidator(_inside)]


class ShardFile(Config):
    path: Inside
    """Relative to the manifest."""
    row_groups: tuple[int, ...]
    """Rows in each."""
    num_bytes: int
    sha256: str
    labels_path: Inside | None
    labels_sha256: str | None
    targets_path: Inside | None = None
    """Targets other than a class, see pipelines/data/shards/targets.py."""
    targets_sha256: str | None = None

    @property
    def num_rows(self) -> int:
        return sum(self.row_groups)


class ContentFile(Config):
    """What ingest noted of the bytes of some samples, see CONTENT in pipelines/data/shards/schema.py."""

    path: Inside
    """Relative to the manifest."""
    sha256: str


class Manifest(Config):
    format: int = FORMAT
    source: dict[str, object]
    """The source's config, for the record."""
    train: tuple[ShardFile, ...]
    test: tuple[ShardFile, ...]
    classes: tuple[str, ...] | None
    """Label texts in the order of their class numbers; None: no labels."""
    fields: dict[str, tuple[str, int]] = {}
    """Field of a sample -> its codec and the version of that; empty: images, by version 1."""
    resized_shorter: int | None = None
    """Images have at most so many pixels on their shorter side; None: they are as they were given."""
    targets: dict[str, str] = {}
    """Name -> kind of the targets other than a class."""
    num_quarantined: int
    num_duplicates: int
    """Samples whose bytes equal those of an earlier sample."""
    num_test_in_train: int = 0
    """Test samples whose bytes equal those of a train sample: scores on them are not honest."""
    held_out_by: Literal["position", "content"] = "position"
    """What decides which samples are held out where the source has no split: their place in the listing (older data),
    or the group that the source names, else the stored bytes."""
    content: tuple[ContentFile, ...] | None = None
    """By it exact copies are found; None: a manifest older than this list. No part of the digest."""
    digest: str = ""
    """Hash of every file's path, sha256 and row groups: the name of this data set."""

    def files(self, split: Literal["train", "test"]) -> tuple[ShardFile, ...]:
        return self.train if split == "train" else self.test

    def num_rows(self, split: Literal["train", "test"]) -> int:
        return sum(file.num_rows for file in self.files(split))

    def summary(self) -> DatasetSummary:
        """What MLflow is told of this data set."""
        counts = {"train": self.num_rows("train"), "test": self.num_rows("test")}
        counts |= {"quarantined": self.num_quarantined, "duplicates": self.num_duplicates}
        return DatasetSummary(str(self.source.get("name", "shards")), self.digest, counts)

    def compute_digest(self) -> str:
        lines = [[f.path, f.sha256, f.labels_sha256, f.row_groups] for f in (*self.train, *self.test)]
        told = [self.targets, [f.targets_sha256 for f in (*self.train, *self.test)]]
        whole = [lines, self.classes, *(told if self.targets else []), *([self.fields] if self.fields else [])]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def check_fields(folder: Path, manifest: Manifest, codecs: Mapping[str, NamedConfig]) -> None:
    """Whether the shards hold the fields that are to be read, as these codecs read them.

    Raises:
        UserError: another field, or one stored by another codec or version.
    """
    has = manifest.fields or IMAGES
    for field, codec in codecs.items():
        version = find("ssl_core.codecs", codec.name).version
        if field not in has or tuple(has[field]) != (codec.name, version):
            stored = ", ".join(f"{name} ({codec} version {number})" for name, (codec, number) in has.items())
            raise UserError(
                f"{folder}: holds the fields {stored}; the views read {field} ({codec.name} version {version}): "
                "take views of what is there, or ingest again"
            )


def check_sizes(folder: Path, manifest: Manifest, chains: Iterable[Augmentation]) -> None:
    """Whether images were stored large enough for these views.

    Raises:
        UserError: a view asks for more pixels than were kept.
    """
    if (kept := manifest.resized_shorter) is None:
        return
    for chain in chains:
        if chain.codec == "image" and (asked := max(chain.spec.shape[1:])) > kept:
            raise UserError(
                f"{folder}: images were stored with {kept} px on their shorter side (ingest.resize_shorter), and a "
                f"view asks for {asked}; take smaller views, or ingest again"
            )


def load(folder: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        UserError: missing, of another format version, or edited after it was written.
    """
    path = folder / NAME
    if not path.exists():
        raise UserError(f"{path}: no manifest here; run `selfray ingest` first")
    try:
        tree = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, not JSON ({error}); delete {folder} and run again") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: damaged, not a manifest; delete {folder} and run again")
    if tree.get("format") != FORMAT:
        raise UserError(f"{path}: format {tree.get('format')}, this Selfray reads format {FORMAT}; ingest again")
    try:
        manifest = Manifest.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        fault = printable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        raise UserError(f"{path}: damaged, not a manifest: {fault}; delete {folder} and run again") from None
    if manifest.compute_digest() != manifest.digest:
        raise UserError(
            f"{path}: its digest does not match its content; it was changed after ingest; delete {folder} and run again"
        )
    return manifest


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare every shard file with its recorded sha256.

    Raises:
        UserError: names the first file that is missing or differs.
    """
    verify_files(folder, (*manifest.train, *manifest.test))


def verify_files(folder: Path, files: Iterable[ShardFile]) -> None:
    """The same for some of the files."""
    for file in files:
        beside = ((file.labels_path, file.labels_sha256), (file.targets_path, file.targets_sha256))
        for name, wanted in ((file.path, file.sha256), *beside):
            if name is None:
                continue
            if not (folder / name).exists():
                raise UserError(f"{folder / name}: listed in the manifest but missing; delete {folder} and run again")
            if sha256_of(folder / name) != wanted:
                raise UserError(
                    f"{folder / name}: its sha256 is not the one in the manifest; delete {folder} and run again"
                )


def labels(folder: Path, manifest: Manifest, split: Literal["train", "test"]) -> Labels | None:
    """Sample id -> class number of one split, for evaluation only; None: no labels."""
    if manifest.classes is None:
        return None
    return Labels([folder / file.labels_path for file in manifest.files(split) if file.labels_path], manifest.classes)
