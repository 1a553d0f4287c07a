"""A folder of images, nested or not."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from pydantic import field_validator

from pipelines.data.sources import _layout
from pipelines.data.sources._files import KEYS, by_split, checked, cut, read_sample
from pipelines.data.sources._walk import Entry, entries_of
from pipelines.data.sources.base import Part, Raw, Source, Split, hash_listing
from pipelines.errors import UserError
from ssl_core.config import LocalPath, NamedConfig

OTHER_IMAGES = {
    *(
        ".heic",
        ".heif",
        ".avif",
        ".jp2",
        ".j2k",
        ".jxl",
        ".svg",
        ".ico",
        ".tga",
        ".psd",
        ".eps",
        ".exr",
        ".hdr",
        ".dcm",
    ),
    *(".jfif", ".jpe", ".pbm", ".pnm", ".apng", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raw"),
}
"""Images that are not read: they count as bad samples, so that a folder of them is not passed over as side-cars."""


class ImageFolder(Source):
    """Images under a folder, nested as you like; first-level folders can be the labels.

    Every visible file with one of `extensions` is a sample, and one without any extension, which is judged by its
    content. Images of formats that are not read count as bad samples; files of other kinds are left out and counted.
    Samples are ordered by relative path.

    With `labels: auto` and no `test_path`, a folder that holds just train/ and test/ (or val/), or all three, has
    these splits: val/ is the test split where there is no test/, else `val` says what becomes of it.
    """

    class Config(NamedConfig):
        name: Literal["image_folder"] = "image_folder"
        path: LocalPath
        """The folder; searched all the way down. One of just train/, test/ and val/ has these splits, see `val`."""
        test_path: LocalPath | None = None
        """A second folder, held out for evaluation; without it `ingest.test_fraction` of the samples are."""
        labels: Literal["auto", "folder", "none"] = "auto"
        """folder: the first-level folder's name is the label; auto: so if all images lie in two or more of them."""
        val: Literal["leave", "join"] = "leave"
        """Of a folder val/ beside train/ and test/: left out, or joined to the train samples."""
        follow_links: bool = False
        """Follow links that lead outside the folder, as in caches (Hugging Face, DVC); special files stay refused."""
        extensions: tuple[str, ...] = (
            ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"
        )  # fmt: skip
        """What counts as an image file; neither case nor a missing dot matters."""

        @field_validator("extensions")
        @classmethod
        def _begin_with_a_dot(cls, given: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(extension if extension.startswith(".") else f".{extension}" for extension in given)

    kind: ClassVar[tuple[str, str]] = ("image", "images")
    """What its files are, one and many, in messages."""
    unread: ClassVar[Collection[str]] = frozenset(OTHER_IMAGES)
    """Suffixes of such files in formats that are not read: bad samples."""

    def __init__(self, config: Config):
        self.roots = dict[str, Path]()
        self.roots.update(by_split(config.path, config.test_path).items())
        self.labels, self.follow_links = config.labels, config.follow_links
        self.extensions = frozenset(extension.lower() for extension in config.extensions)
        self._splits = ""
        if config.test_path is None and config.labels == "auto":
            self._take_splits(config.val)

    def fingerprint(self) -> str:
        return hash_listing(
            [split, entry.name, entry.size, entry.mtime_ns] for split in self.roots for entry in self._listing(split)
        )

    def parts(self, shard_mb: int) -> list[Part]:
        listings = {split: self._listing(split) for split in self.roots}
        labelled, hint = self._labelled(listings["train"])
        self.remarks = tuple(line for line in (self._splits, hint, *self._others(listings)) if line)
        parts = []
        for split, listing in listings.items():
            for run in cut([entry.size for entry in listing], shard_mb):
                names = [entry.name for entry in listing[run]]
                what = {"split": split, "names": names, "labelled": labelled}
                mine: Split = "test" if split == "test" else "train"
                parts.append(Part(mine if len(self.roots) > 1 else None, len(names), what))
        return parts

    def read(self, part: Part) -> Iterator[Raw]:
        root = self._root(part.what["split"])
        for name in part.what["names"]:
            file = f"{root.name}/{name}"
            folder, slash, _ = name.partition("/")
            label = folder if part.what["labelled"] and slash else None
            if not self._may_be_image(name):
                suffix = PurePosixPath(name).suffix
                other, one = suffix.lower() not in self.unread, self.kind[0]
                article = "an" if one == "image" else "a"
                yield Raw(file, label=label, error=f"not {article} {one} ({suffix})", other=other)
                continue
            yield read_sample(root, name, file, None, label, self.follow_links)

    def _take_splits(self, val: str) -> None:
        """The folders train, test and val, where there is nothing else."""
        found = _layout.split_folders(self.roots["train"], self.extensions)
        if not found:
            return
        self.roots = {name: found[name] for name in ("train", "val", "test") if name in found}
        said = f"{found['train'].name}/ is the train split, {found['test'].name}/ the test split"
        if "val" in found:
            said += f", {found['val'].name}/ " + ("joins train" if val == "join" else "is left out (source.val=join)")
            if val == "leave":
                del self.roots["val"]
        self._splits = said

    def _others(self, listings: Mapping[str, list[Entry]]) -> Iterator[str]:
        """One line about files that are no images, where there are any."""
        suffixes = Counter(
            PurePosixPath(entry.name).suffix.lower()
            for listing in listings.values()
            for entry in listing
            if not self._may_be_image(entry.name)
        )
        others = {suffix: count for suffix, count in suffixes.most_common() if suffix not in self.unread}
        if others:
            yield f"{sum(others.values())} files of other kinds left out ({_layout.first(others)})"

    def _root(self, split: str) -> Path:
        return checked(self.roots[split], self._key(split))

    def _key(self, split: str) -> str:
        return KEYS["test" if split == "test" else "train"]

    def _listing(self, split: str) -> list[Entry]:
        key, root = self._key(split), self._root(split)
        return entries_of(key, root, self.kind, self.extensions, self._may_be_image, follow_links=self.follow_links)

    def _may_be_image(self, name: str) -> bool:
        suffix = PurePosixPath(name).suffix.lower()
        return not suffix or suffix in self.extensions

    def _labelled(self, listing: list[Entry]) -> tuple[bool, str]:
        """Whether the first-level folders are the labels; where not, why not, if they may be meant to be."""
        if self.labels != "auto":
            return self.labels == "folder", ""
        names = [entry.name for entry in listing if self._may_be_image(entry.name)]
        images = [name.partition("/") for name in names]
        folders = {folder for folder, slash, _ in images if slash}
        if _layout.look_like_splits(folders):
            raise UserError(
                f"source.path: {self.roots['train']} holds the folders {_layout.first(sorted(folders))}, which look "
                f"like splits, or {self.kind[1]} and masks; set source.path and source.test_path to two of them, "
                "source.path to one (or source.labels to folder or none)"
            )
        labelled = len(folders) > 1 and all(slash for _, slash, _ in images)
        return labelled, "" if labelled else _layout.why_no_labels(names, self.roots["train"], self.kind[1])
