"""A folder of recordings, nested or not."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal

from pydantic import field_validator

from pipelines.data.sources import _layout
from pipelines.data.sources._files import KEYS, by_split, checked, cut, read_sample
from pipelines.data.sources._walk import Entry, entries_of
from pipelines.data.sources.base import Part, Raw, Source, Split, hash_listing
from pipelines.errors import UserError
from pipelines.storage.printable import printable
from ssl_core.config import LocalPath, NamedConfig

EXTENSIONS = (".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff")
OTHER_SOUNDS = {".m4a", ".aac", ".wma", ".opus", ".amr", ".ape", ".mid", ".midi", ".au", ".caf", ".mka"}
"""Recordings that are not read: they count as bad samples, so that a folder of them is not passed over."""


class AudioFolder(Source):
    """Recordings under a folder, nested as you like; first-level folders or the file names can be the labels.

    Every visible file with one of `extensions` is a sample; it is read by its content, whatever its extension.
    Recordings of formats that are not read count as bad samples; files of other kinds are left out and counted.
    Samples are ordered by relative path.

    With `labels: auto` and no `test_path`, a folder that holds just train/ and test/ (or val/) has these splits.
    """

    fields = {"audio": "audio"}

    class Config(NamedConfig):
        name: Literal["audio_folder"] = "audio_folder"
        path: LocalPath
        """The folder; searched all the way down."""
        test_path: LocalPath | None = None
        """A second folder, held out for evaluation; without it `test_groups`, or `ingest.test_fraction`, are."""
        labels: Literal["auto", "folder", "none"] | str = "auto"
        """folder: the first-level folder's name is the label; auto: so if all recordings lie in two or more of them;
        none; or a regular expression with one group, found in the relative path: `^(\\d)_` of 7_jackson_32.wav."""
        group: str = ""
        """A regular expression with one group, found in the relative path: what a recording shares with others
        (speaker, session), as `_([a-z]+)_`. All of a group are held out together, or none."""
        test_groups: tuple[str, ...] = ()
        """Groups that are the test split; the others are the train split."""
        follow_links: bool = False
        """Follow links that lead outside the folder."""
        extensions: tuple[str, ...] = EXTENSIONS
        """What counts as a recording; neither case nor a missing dot matters."""

        @field_validator("extensions")
        @classmethod
        def _begin_with_a_dot(cls, given: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(extension if extension.startswith(".") else f".{extension}" for extension in given)

        @field_validator("labels", "group")
        @classmethod
        def _has_one_group(cls, given: str) -> str:
            if given in ("auto", "folder", "none", ""):
                return given
            try:
                groups = re.compile(given).groups
            except re.error as error:
                raise ValueError(f"'{given}' is no regular expression ({error})") from None
            if groups != 1:
                raise ValueError(f"'{given}' has {groups} groups; put the part that is meant into one pair of ( )")
            return given

        @field_validator("test_groups")
        @classmethod
        def _are_different(cls, given: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(sorted(set(given)))

    def __init__(self, config: Config):
        """
        Raises:
            UserError: groups to hold out, and no `group` to find them, or a `test_path` beside.
        """
        if config.test_groups and not config.group:
            raise UserError("source.test_groups: needs source.group, which finds the group in a path")
        if config.test_groups and config.test_path:
            raise UserError("source.test_groups: source.test_path is the test split; give one of them")
        self.roots = dict(by_split(config.path, config.test_path))
        self.labels, self.group, self.test_groups = config.labels, config.group, config.test_groups
        self.follow_links = config.follow_links
        self.extensions = frozenset(extension.lower() for extension in config.extensions)
        self._splits = ""
        if config.test_path is None and config.labels == "auto" and not config.test_groups:
            found = _layout.split_folders(self.roots["train"], self.extensions)
            if found:
                self.roots = {"train": found["train"], "test": found["test"]}
                self._splits = f"{found['train'].name}/ is the train split, {found['test'].name}/ the test split"
                self._splits += f", {found['val'].name}/ is left out" if "val" in found else ""

    def fingerprint(self) -> str:
        return hash_listing(
            [split, entry.name, entry.size, entry.mtime_ns] for split in self.roots for entry in self._listing(split)
        )

    def parts(self, shard_mb: int) -> list[Part]:
        listings = {split: self._listing(split) for split in self.roots}
        labelled = self._by_folder(listings["train"])
        self.remarks = tuple(line for line in (self._splits, *self._others(listings["train"])) if line)
        parts = []
        for split, listing in self._by_split(listings).items():
            root: Split = split if split in self.roots else "train"
            for run in cut([entry.size for entry in listing], shard_mb):
                names = [entry.name for entry in listing[run]]
                mine = split if len(listings) > 1 or self.test_groups else None
                parts.append(Part(mine, len(names), {"split": root, "names": names, "labelled": labelled}))
        return parts

    def read(self, part: Part) -> Iterator[Raw]:
        split: Split = part.what["split"]
        root = checked(self.roots[split], KEYS[split])
        for name in part.what["names"]:
            file = f"{root.name}/{name}"
            suffix = PurePosixPath(name).suffix
            if suffix.lower() not in self.extensions:
                other = suffix.lower() not in OTHER_SOUNDS
                yield Raw(file, error=f"not a recording that is read ({suffix or 'no suffix'})", other=other)
                continue
            label = self._label(name, part.what["labelled"])
            group = _found(self.group, name)
            if self.group and not group:
                yield Raw(file, label=label, error=f"source.group: '{self.group}' finds no group in this path")
                continue
            raw = read_sample(root, name, file, None, label, self.follow_links)
            yield Raw(raw.file, data=raw.data, label=raw.label, error=raw.error, group=group)

    def _label(self, name: str, by_folder: bool) -> str | None:
        if self.labels in ("auto", "folder", "none"):
            folder, slash, _ = name.partition("/")
            return folder if by_folder and slash else None
        return _found(self.labels, name) or None

    def _by_folder(self, listing: list[Entry]) -> bool:
        if self.labels != "auto":
            return self.labels == "folder"
        parts = [entry.name.partition("/") for entry in listing if self._is_sound(entry.name)]
        return len({folder for folder, _, _ in parts}) > 1 and all(slash for _, slash, _ in parts)

    def _by_split(self, listings: dict[Split, list[Entry]]) -> dict[Split, list[Entry]]:
        """
        Raises:
            UserError: a group to hold out that no recording is of.
        """
        if not self.test_groups:
            return listings
        groups = [_found(self.group, entry.name) for entry in listings["train"]]
        for wanted in self.test_groups:
            if wanted not in groups:
                there = _layout.first(sorted(set(filter(None, groups))))
                raise UserError(f"source.test_groups: no recording is of '{printable(wanted)}'; there are {there}")
        held = [group in self.test_groups for group in groups]
        return {
            "train": [entry for entry, out in zip(listings["train"], held, strict=True) if not out],
            "test": [entry for entry, out in zip(listings["train"], held, strict=True) if out],
        }

    def _others(self, listing: list[Entry]) -> Iterator[str]:
        """One line about files that are no recordings, where there are any."""
        suffixes = Counter(PurePosixPath(e.name).suffix.lower() for e in listing if not self._is_sound(e.name))
        others = {suffix or "no suffix": n for suffix, n in suffixes.most_common() if suffix not in OTHER_SOUNDS}
        if others:
            yield f"{sum(others.values())} files of other kinds left out ({_layout.first(others)})"

    def _is_sound(self, name: str) -> bool:
        return PurePosixPath(name).suffix.lower() in self.extensions

    def _listing(self, split: Split) -> list[Entry]:
        key, kind = KEYS[split], ("recording", "recordings")
        root = checked(self.roots[split], key)
        return entries_of(key, root, kind, self.extensions, self._is_sound, follow_links=self.follow_links)


def _found(pattern: str, name: str) -> str:
    """What the group of a pattern finds in a relative path; empty: nothing, or no pattern."""
    match = re.search(pattern, name) if pattern else None
    return match[1] or "" if match else ""
