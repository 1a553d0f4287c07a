"""What sources that read files share: checked paths, listings cut into parts, guarded reads."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from pipelines.data.sources.base import Part, Raw, Split, hash_listing
from pipelines.errors import UserError
from pipelines.storage.printable import printable

KEYS: dict[Split, str] = {"train": "source.path", "test": "source.test_path"}
"""The config key that names each split's files."""
MAX_BYTES = 256 << 20
"""A single sample larger than this is refused unread."""
MAX_SAMPLES = 8192
"""Samples per part at most: small images spread over the CPUs too, and progress moves."""


def by_split(path: Path, test_path: Path | None) -> dict[Split, Path]:
    """The paths of a config, absolute, because a Ray task may run in another folder than the driver."""
    given: dict[Split, Path | None] = {"train": path, "test": test_path}
    return {split: found.expanduser().absolute() for split, found in given.items() if found is not None}


def checked(path: Path, key: str) -> Path:
    """The absolute path of something that is there.

    Raises:
        UserError: nothing there, or not allowed to look.
    """
    try:
        real = path.resolve(strict=True)
        return real if real.is_dir() else path.parent.resolve() / path.name  # a linked file keeps its name
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{key}: {path}: no such file or folder") from None
    except (OSError, RuntimeError) as error:
        raise UserError(f"{key}: {path}: cannot be read ({reason(error)})") from None


def cut(sizes: Sequence[int], shard_mb: int, samples: Sequence[int] | None = None) -> Iterator[slice]:
    """Cut consecutive items into runs of about `shard_mb` and at most MAX_SAMPLES samples.

    Args:
        sizes: bytes of each item.
        samples: samples in each item; by default one.
    """
    first = num_bytes = num_samples = 0
    for index, size in enumerate(sizes):
        count = samples[index] if samples else 1
        if index > first and (num_bytes + size > shard_mb << 20 or num_samples + count > MAX_SAMPLES):
            yield slice(first, index)
            first, num_bytes, num_samples = index, 0, 0
        num_bytes += size
        num_samples += count
    if sizes:
        yield slice(first, len(sizes))


def stamp(path: Path) -> tuple[int, int]:
    """Size and modification time (ns); of the link itself where it leads nowhere, zeros where nothing is."""
    for look in (os.stat, os.lstat):
        try:
            found = look(path)
            return found.st_size, found.st_mtime_ns
        except (OSError, ValueError):  # ValueError: a NUL in the name
            continue
    return 0, 0


def read_inside(root: Path, name: str, follow_links: bool = False) -> bytes | str:
    """The bytes of `root/name`, or the reason (str) why they cannot be had.

    Refuses what leads outside `root` (links, `..`, absolute paths), devices, pipes and huge files.

    Args:
        follow_links: let links lead outside, e.g. into a cache; names may not.
    """
    try:
        real = (root / name).resolve(strict=True)
        named_inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        if not (follow_links and named_inside) and not real.is_relative_to(root.resolve()):
            return f"leads outside {printable(str(root))}: not followed"
        found = real.stat()
        if stat.S_ISDIR(found.st_mode):
            return "a folder, or a link to one: not followed"
        if not stat.S_ISREG(found.st_mode):
            return "not a regular file"
        if found.st_size > MAX_BYTES:
            return f"{found.st_size >> 20} MB, more than {MAX_BYTES >> 20} MB"
        return real.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links; ValueError: a NUL in it
        return f"cannot be read ({reason(error)})"


def read_sample(
    root: Path, name: str, file: str, row: int | None, label: str | None, follow_links: bool = False
) -> Raw:
    found = read_inside(root, name, follow_links)
    if isinstance(found, str):
        return Raw(file, row, label=label, error=found)
    return Raw(file, row, data=found, label=label)


def reason(error: BaseException) -> str:
    """Why something failed, in one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__


def missing_column(key: str, name: str, file: Path, columns: Sequence[str]) -> UserError:
    close = get_close_matches(name, columns, n=1)
    hint = f"did you mean '{printable(close[0])}'? " if close else ""
    there = ", ".join(map(printable, columns)) or "none"
    return UserError(f"{key}: {printable(str(file))} has no column '{name}'; {hint}it has {there}")


def hash_files(splits: Mapping[Split, tuple[Path, Sequence[Path]]]) -> str:
    """The fingerprint of a source that reads whole files: split -> (folder, files in it)."""
    return hash_listing(
        [split, str(path.relative_to(root)), *stamp(path)] for split, (root, files) in splits.items() for path in files
    )


def parts_of_files(
    paths: Mapping[Split, Path],
    files: Callable[[Split], tuple[Path, Sequence[Path]]],
    parts: Callable[[Split, Path, Path], Iterable[Part]],
) -> list[Part]:
    """The parts of a source that reads tables, file by file.

    Args:
        paths: as the config names them.
        files: of a split: (folder, files in it).
        parts: of (split, folder, file).
    Raises:
        UserError: a split without a row.
    """
    made = []
    for split, path in paths.items():
        root, there = files(split)
        found = [part for file in there for part in parts(split, root, file)]
        if not found:
            raise UserError(f"{KEYS[split]}: {path} has no rows")
        made += found
    return made
