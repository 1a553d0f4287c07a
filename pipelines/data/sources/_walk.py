"""The files of a folder that a source reads, in order."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from pipelines.data.sources._files import reason, stamp
from pipelines.errors import UserError
from pipelines.storage.printable import printable

SIDECARS = {"thumbs.db", "desktop.ini"}
"""Written beside files by file managers; files that start with a dot are left out as well."""


@dataclass(frozen=True, slots=True)  # there may be millions
class Entry:
    name: str
    """Relative to the root, `/` between parts."""
    size: int
    mtime_ns: int


def entries_of(
    key: str,
    root: Path,
    kind: tuple[str, str],
    extensions: Collection[str],
    is_sample: Callable[[str], bool],
    *,
    follow_links: bool,
) -> list[Entry]:
    """All visible files below `root`, by relative path. A link to a folder is walked into, or is an entry itself: it
    is refused by name where it is read.

    Args:
        key: of the config, for errors.
        kind: what a sample is called, one and many.
        extensions: for errors.
        is_sample: whether a relative path is that of a sample; the others are entries as well.
    Raises:
        UserError: no folder, cannot be listed, empty, or without a single sample.
    """

    def cannot_list(error: OSError) -> None:
        raise UserError(f"{key}: {printable(str(error.filename))}: cannot be listed ({reason(error)})") from None

    one, many = kind
    if not root.is_dir():
        raise UserError(f"{key}: {root} is a file; give the folder that holds the {many}")
    entries, seen = list[Entry](), {os.path.realpath(root)}
    for folder, folders, files in os.walk(root, onerror=cannot_list, followlinks=follow_links):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if Path(folder, name).is_symlink()]
        if follow_links:
            real = {name: os.path.realpath(Path(folder, name)) for name in folders}
            folders[:] = [name for name in sorted(folders) if real[name] not in seen]  # links may form a loop
            seen |= {real[name] for name in folders}
            links = []
        for name in files + links:
            if not name.startswith(".") and name.lower() not in SIDECARS:
                path = Path(folder, name)
                entries.append(Entry(path.relative_to(root).as_posix(), *stamp(path)))
    if not entries:
        raise UserError(f"{key}: {root} is empty; give a folder of {many}")
    if not any(is_sample(entry.name) for entry in entries):
        first = printable(min(entry.name for entry in entries))
        raise UserError(
            f"{key}: {root} has {len(entries)} files but no {one} among them, the first is {first}; {many} end in "
            f"{' '.join(sorted(extensions))}"
        )
    return sorted(entries, key=lambda entry: entry.name)
