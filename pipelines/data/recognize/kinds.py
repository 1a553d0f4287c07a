"""What kind of data a folder holds, by the suffixes of its files."""

from collections import Counter
from pathlib import Path, PurePosixPath

from pipelines.config import recipe_file
from pipelines.data.recognize.listing import LIMIT, Listing, spread
from pipelines.data.sources._layout import first
from pipelines.data.sources.image_folder import ImageFolder
from pipelines.errors import UserError
from pipelines.storage.printable import printable

KINDS: dict[str, frozenset[str]] = {
    "image": frozenset(ImageFolder.Config.model_fields["extensions"].default),
    "table": frozenset((".csv", ".tsv")),
    "parquet": frozenset((".parquet",)),
    "sound": frozenset((".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff")),
    "text": frozenset((".txt", ".text", ".jsonl", ".ndjson")),
    "array": frozenset((".npy", ".npz", ".h5", ".hdf5", ".mat", ".pt", ".pkl", ".arff", ".ts")),
    "video": frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm")),
    "archive": frozenset((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z")),
}
READ = ("image", "table", "parquet", "sound", "text")
"""The kinds that there are sources for; the others are known so that they are not taken for side-cars."""
FEW_TABLES = 0.1
"""Tables per image that are taken for what is said about the images."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"II*\x00", b"MM\x00*", b"BM")
"""First bytes of images (RIFF: of WebP, where `WEBP` follows)."""


def suffix_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def kind_of_suffix(suffix: str) -> str | None:
    return next((kind for kind, suffixes in KINDS.items() if suffix in suffixes), None)


def is_data(given: str | Path) -> bool:
    """Whether it is a path of data and no recipe: a folder, or a file with a suffix of data.

    The name of a shipped recipe is never one; `./NAME` is.
    """
    if str(given) in recipe_file.shipped():
        return False
    path = Path(given).expanduser()
    return path.is_dir() or (path.is_file() and kind_of_suffix(suffix_of(path.name)) is not None)


def is_image(data: bytes) -> bool:
    """By its first bytes."""
    return data.startswith(_MAGIC) and (not data.startswith(b"RIFF") or data[8:12] == b"WEBP")


def kind_of(listed: Listing, path: Path) -> str:
    """One of READ.

    Raises:
        UserError: none of them, or several; says how many files of which suffix there are.
    """
    suffixes = Counter(map(suffix_of, listed.names))
    kinds = Counter[str]()
    for suffix, number in suffixes.items():
        if kind := kind_of_suffix(suffix):
            kinds[kind] += number
    if set(kinds) - {"text"}:
        del kinds["text"]  # beside other data a text says something about them
    if not kinds and suffixes[""] and _begin_like_images(listed):
        kinds["image"] = suffixes[""]
    if set(kinds) == {"image", "table"} and kinds["table"] <= max(1, FEW_TABLES * kinds["image"]):
        return "image"
    if len(kinds) == 1 and next(iter(kinds)) in READ:
        return next(iter(kinds))
    raise UserError(f"{printable(str(path))}: {_why(kinds, suffixes, listed, path)}")


def no_source(path: Path, why: str) -> UserError:
    """The one line for data that are not recognized."""
    what = (
        "images (files, CSV of paths, Parquet), time series (CSV, Parquet), texts (.txt, JSON Lines, tables) and "
        "recordings (files) are"
    )
    return UserError(
        f"{printable(str(path))}: {why}; {what} recognized; else write a recipe with "
        "source: {name: ..., path: ...} (`selfray list` shows the sources)"
    )


def _begin_like_images(listed: Listing) -> bool:
    some = spread([path for path in listed.paths() if not path.suffix], 20)
    return all(is_image(_head(path)) for path in some)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError:
        return b""


def _why(kinds: Counter[str], suffixes: Counter[str], listed: Listing, path: Path) -> str:
    recipes = [name for name in listed.names if suffix_of(name) in (".yaml", ".yml")]
    if not suffixes:
        return "holds no files; give a folder of images, of time series, of texts or of recordings"
    beyond = "" if listed.complete else f" among the first {LIMIT:,}"
    counted = [f"{number:,} {suffix or 'without a suffix'}" for suffix, number in suffixes.most_common()]
    there = f"it holds {first(counted)}{beyond}"
    read = [kind for kind in kinds if kind in READ]
    if len(kinds) > 1 and read:
        return f"holds several kinds of data; {there}; give one folder or file of one kind, or a recipe with its source"
    known = "images, time series, texts and recordings are recognized (files, and CSV, Parquet, JSON Lines)"
    if len(kinds) == 1:
        (kind,) = kinds
        return f"is {kind}, for which there is no source yet; {there}; {known}"
    hint = f"; for its recipe give {printable(str(path / recipes[0]))}" if recipes else ""
    return f"holds no data that are recognized; {there}; {known}; for others write a recipe with its source{hint}"
