"""A folder of images, nested or not."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pipelines.data.sources._files import KEYS, by_split, checked, cut, read_sample, reason, stamp
from pipelines.data.sources.base import Part, Raw, Source, Split, hash_listing
from pipelines.errors import UserError
from pipelines.storage.printable import printable
from ssl_core.config import NamedConfig

SIDECARS = {"thumbs.db", "desktop.ini"}
"""Written beside images by file managers; files that start with a dot are left out as well."""
SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation"}


@dataclass(frozen=True, slots=True)  # there may be millions
class _Entry:
    name: str
    """Relative to the root, `/` between parts."""
    size: int
    mtime_ns: int


class ImageFolder(Source):
    """Images under a folder, nested as you like; first-level folders can be the labels.

    Every visible file is a sample. One with another extension than `extensions` goes to quarantine
    unread; one without any extension is judged by its content. Samples are ordered by relative path.
    """

    class Config(NamedConfig):
        name: Literal["image_folder"] = "image_folder"
        path: Path
        """The folder; searched all the way down."""
        test_path: Path | None = None
        """A second folder, held out for evaluation; without it `ingest.test_fraction` of the samples are."""
        labels: Literal["auto", "folder", "none"] = "auto"
        """folder: the first-level folder's name is the label; auto: so if all images lie in two or more of them."""
        extensions: tuple[str, ...] = (
            ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"
        )  # fmt: skip
        """What counts as an image file; case does not matter."""

    def __init__(self, config: Config):
        self.roots = by_split(config.path, config.test_path)
        self.labels = config.labels
        self.extensions = frozenset(extension.lower() for extension in config.extensions)

    def fingerprint(self) -> str:
        return hash_listing(
            [split, entry.name, entry.size, entry.mtime_ns] for split in self.roots for entry in self._listing(split)
        )

    def parts(self, shard_mb: int) -> list[Part]:
        listings = {split: self._listing(split) for split in self.roots}
        labelled = self._labelled(listings["train"])
        parts = []
        for split, listing in listings.items():
            for run in cut([entry.size for entry in listing], shard_mb):
                names = [entry.name for entry in listing[run]]
                what = {"split": split, "names": names, "labelled": labelled}
                parts.append(Part(split if len(self.roots) > 1 else None, len(names), what))
        return parts

    def read(self, part: Part) -> Iterator[Raw]:
        root = self._root(part.what["split"])
        for name in part.what["names"]:
            file = f"{root.name}/{name}"
            folder, slash, _ = name.partition("/")
            label = folder if part.what["labelled"] and slash else None
            if not self._may_be_image(name):
                yield Raw(file, label=label, error=f"not an image ({PurePosixPath(name).suffix})")
                continue
            yield read_sample(root, name, file, None, label)

    def _root(self, split: Split) -> Path:
        return checked(self.roots[split], KEYS[split])

    def _listing(self, split: Split) -> list[_Entry]:
        """All visible files in order.

        Raises:
            UserError: no folder, cannot be listed, empty, or without a single image.
        """
        key, root = KEYS[split], self._root(split)

        def cannot_list(error: OSError) -> None:
            raise UserError(f"{key}: {printable(str(error.filename))}: cannot be listed ({reason(error)})") from None

        if not root.is_dir():
            raise UserError(f"{key}: {root} is a file; give the folder that holds the images")
        entries = []
        for folder, folders, files in os.walk(root, onerror=cannot_list):
            folders[:] = [name for name in folders if not name.startswith(".")]
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in files + links:
                if not name.startswith(".") and name.lower() not in SIDECARS:
                    path = Path(folder, name)
                    entries.append(_Entry(path.relative_to(root).as_posix(), *stamp(path)))
        if not entries:
            raise UserError(f"{key}: {root} is empty; give a folder of images")
        if not any(self._may_be_image(entry.name) for entry in entries):
            raise UserError(
                f"{key}: {root} has {len(entries)} files but no image among them, the first is "
                f"{printable(min(entry.name for entry in entries))}; images end in {' '.join(sorted(self.extensions))}"
            )
        return sorted(entries, key=lambda entry: entry.name)

    def _may_be_image(self, name: str) -> bool:
        suffix = PurePosixPath(name).suffix.lower()
        return not suffix or suffix in self.extensions

    def _labelled(self, listing: list[_Entry]) -> bool:
        if self.labels != "auto":
            return self.labels == "folder"
        images = [entry.name.partition("/") for entry in listing if self._may_be_image(entry.name)]
        folders = {folder for folder, slash, _ in images if slash}
        if folders and {folder.lower() for folder in folders} <= SPLIT_NAMES and len(folders) > 1:
            raise UserError(
                f"source.path: {self.roots['train']} holds the folders {', '.join(sorted(folders))}, which look like "
                "splits; set source.path and source.test_path to two of them (or source.labels to folder or none)"
            )
        return len(folders) > 1 and all(slash for _, slash, _ in images)
