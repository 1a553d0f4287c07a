"""Images: a folder of them, or a table of their paths."""

import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from pipelines.data.recognize.found import Images, count
from pipelines.data.recognize.kinds import KINDS, kind_of_suffix, no_source, suffix_of
from pipelines.data.recognize.listing import Listing, spread
from pipelines.data.sources import _layout

GRAY = ("1", "L", "LA", "I", "I;16", "I;16B", "F")
"""Pillow's modes without color."""
HELD_OUT = 0.1
"""`ingest.test_fraction`, where the data have no test split of their own."""


def folder(listed: Listing) -> Images:
    """All images below a folder.

    Raises:
        UserError: none of those that were looked at can be read.
    """
    root = listed.root
    names = [name for name in listed.names if kind_of_suffix(suffix_of(name)) == "image" or not suffix_of(name)]
    splits = _layout.split_folders(root, KINDS["image"])
    inside = {name.partition("/")[0] for name in names if "/" in name}
    classes = len(inside) > 1 and all("/" in name for name in names)
    num_train = round((1 - HELD_OUT) * len(names))
    what = f"{count(len(names), listed.complete)} images"
    if splits:
        num_train = sum(name.startswith(f"{splits['train'].name}/") for name in names)
        what += f" in {splits['train'].name}/ and {splits['test'].name}/"
    elif classes and not _layout.look_like_splits(inside):
        what += f" in {count(len(inside), listed.complete)} class folders ({_layout.first(sorted(inside))})"
    sizes, gray = looked(root / name for name in spread(names))
    if not sizes:
        raise no_source(root, f"none of the {len(spread(names))} images looked at can be read")
    source = {"name": "image_folder", "path": str(root)}
    return Images(source, what, num_train if listed.complete else None, sizes=sizes, gray=gray)


def looked(images: Iterable[Path | bytes]) -> tuple[tuple[tuple[int, int], ...], bool]:
    """(width, height) of those that can be opened, by their headers, and whether all of them are gray."""
    from PIL import Image

    sizes, modes = [], set()
    for image in images:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of huge images: ingest says what becomes of them
                with Image.open(BytesIO(image) if isinstance(image, bytes) else image) as opened:
                    sizes.append(opened.size)
                    modes.add(opened.mode)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
    return tuple(sizes), modes <= set(GRAY)
