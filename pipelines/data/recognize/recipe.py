"""The recipe for plain data: a shipped one of their modality, fitted to how large and how many the samples are.

It depends on the data alone, not on the machine: the same folder gives the same recipe everywhere.
"""

import os
import re
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.config import recipe_file
from pipelines.config.parse import read_tree
from pipelines.data.recognize import images, texts
from pipelines.data.recognize.found import Found, Images, Recordings, Texts, TimeSeries
from pipelines.data.recognize.kinds import kind_of
from pipelines.data.recognize.listing import listing
from pipelines.data.sources._layout import NOT_CLASSES
from pipelines.errors import UserError
from pipelines.storage.printable import printable

FEWEST = 16
"""Samples to train on."""
SEEN = 60_000
"""Samples that the training of images goes through at views of 64 px: a quarter of an hour on 2 cores (the row of
Caltech-101 in README.md), four times as many at half the size ..."""
MOST_SEEN = 240_000
"""... and never more."""
SEEN_SERIES = 120_000
SEEN_TEXTS = 120_000
TOKENS = (32, 256)
"""Of the views of texts, shortest and longest; bytes are the tokens."""
FEWEST_STEPS, MOST_EPOCHS = 300, 200
BATCH = 256
LARGE_BATCH_PX = 32
"""Larger views get half of BATCH."""
VIEWS = (16, 64, 96)
"""Pixels: the smallest view; up to the second one views are as large as the images; the third is that of photos."""
AHEAD = 4
"""A quarter of a window is forecast from the rest."""
LENGTHS = (16, 512)
"""Steps of the views of time series, shortest and longest."""
SEEN_SOUNDS = 60_000
RATES = (8_000, 16_000)
"""Samples per second that recordings are stored at: the first one for those of little more."""
SECONDS = (0.48, 2.88)
"""Of the views of recordings, shortest and longest: eights of frames of 10 ms."""
_NO_NAME = {
    *NOT_CLASSES,
    "data",
    "dataset",
    "datasets",
    "raw",
    "series",
    "files",
    "parquet",
    "csv",
    "recordings",
    "audio",
}


class Proposal(NamedTuple):
    tree: dict[str, Any]
    """A recipe: what differs from the defaults."""
    lines: tuple[str, ...]
    """What was recognized and chosen, and why."""


def propose(path: Path) -> Proposal:
    """The recipe for a folder or file.

    Raises:
        UserError: it is not recognized, or holds too few samples.
    """
    path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 (resolve would follow links)
    found = _found(path)
    if found.num_train is not None and found.num_train < FEWEST:
        one = "one image is no data set; " if isinstance(found, Images) and path.is_file() else ""
        raise UserError(
            f"{printable(str(path))}: {one}{found.what}: {found.num_train} to train on are too few; bring at least "
            f"{FEWEST}"
        )
    tree, why = _tree(found)
    given = found.source
    lines = (f"recognized: {found.what} ({given['name']})", *(f"assumed:    {line}" for line in found.assumed))
    return Proposal({**tree, "name": name_of(path), "source": given}, (*lines, *why))


def name_of(path: Path) -> str:
    """A run's name from a path: its last part that says something, without what names must not hold."""
    stem = path.stem if path.is_file() else path.name
    said = [part for part in (*path.parent.parts[1:], stem) if _sanitized(part).lower() not in _NO_NAME]
    name = _sanitized(said[-1] if said else stem)
    return name or "data"


def _sanitized(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80]


def _tree(found: Found) -> tuple[dict[str, Any], list[str]]:
    if isinstance(found, Images):
        return _images(found)
    if isinstance(found, Texts):
        return _texts(found)
    if isinstance(found, Recordings):
        return _recordings(found)
    assert isinstance(found, TimeSeries)
    return _series(found)


def _found(path: Path) -> Images | TimeSeries | Texts | Recordings:
    listed = listing(path)
    kind = kind_of(listed, path)
    if kind == "text":
        return texts.recognize(listed, path)
    if kind == "sound":
        from pipelines.data.recognize import recordings  # libsndfile

        return recordings.folder(listed)
    from pipelines.data.recognize import parquet_files, tables  # pyarrow: not for data that are not recognized

    if kind == "parquet":
        return parquet_files.recognize(listed, path)
    if kind == "table":
        return tables.recognize(listed, path)
    return tables.manifest_beside(listed) or images.folder(listed)


def _images(found: Images) -> tuple[dict[str, Any], list[str]]:
    tree = read_tree(recipe_file.shipped()["folder_simclr"])
    smallest, small, photo = VIEWS
    (width, height), side = found.median, min(found.median)
    size = photo if side >= photo else min(small, max(smallest, side // 4 * 4))
    tree["views"]["global"]["size"] = tree["views"]["eval"]["size"] = size
    why = [f"folder_simclr with views of {size} px: the median of {len(found.sizes)} images is {width}x{height}"]
    if found.gray:
        tree["views"]["global"] |= {"saturation": 0.0, "hue": 0.0, "gray": 0.0}
        why.append("no jitter of colors: all of these are gray")
    seen = min(MOST_SEEN, SEEN * max(1, small / size) ** 2)
    tree["train"], trained = _training(found, round(seen), BATCH if size <= LARGE_BATCH_PX else BATCH // 2)
    return tree, _said("recipe", [*why, trained])


def _series(found: TimeSeries) -> tuple[dict[str, Any], list[str]]:
    windows = "window" in found.source
    name = "series_mae" if windows else "series_simclr"
    tree = read_tree(recipe_file.shipped()[name])
    shortest, longest = LENGTHS
    ahead = found.length // AHEAD if windows else 0
    whole = min(longest, max(shortest, 1 << max(0, found.length.bit_length() - 1)))
    length = found.length - ahead if windows else whole
    shape: dict[str, Any] = {"length": length, "channels": found.channels}
    shape |= {"normalize": "view"} if windows else {}  # by the whole window a view would show its future
    for view in tree["views"].values():
        view.update(shape)
    why = f"about the {found.length} rows of a series"
    if windows:
        tree["evaluate"] = {"tasks": [{"name": "forecasting", "horizons": [ahead // 8, ahead // 2, ahead]}]}
        why = f"the windows but for their last {ahead}, which are forecast"
    tree["train"], trained = _training(found, SEEN_SERIES, tree["train"]["global_batch_size"])
    return tree, _said("recipe", [f"{name} with views of {length} steps: {why}", trained])


def _texts(found: Texts) -> tuple[dict[str, Any], list[str]]:
    tree = read_tree(recipe_file.shipped()["text_simclr"])
    shortest, longest = TOKENS
    length = min(longest, max(shortest, 1 << (found.num_bytes + 1).bit_length()))
    for view in tree["views"].values():
        view["length"] = length
    tree["train"], trained = _training(found, SEEN_TEXTS, tree["train"]["global_batch_size"])
    why = f"text_simclr with views of {length} bytes: the median of the texts has {found.num_bytes}"
    return tree, _said("recipe", [why, trained])


def _recordings(found: Recordings) -> tuple[dict[str, Any], list[str]]:
    tree = read_tree(recipe_file.shipped()["fsdd_simclr"])
    rate = RATES[0] if found.rate < 1.5 * RATES[0] else RATES[1]
    shortest, longest = SECONDS
    seconds = round(min(longest, max(shortest, int(found.seconds / 0.08) * 0.08)), 2)
    tree["ingest"]["codecs"]["audio"]["rate"] = rate
    for view in tree["views"].values():
        view.update({"rate": rate, "seconds": seconds})
    tree["train"], trained = _training(found, SEEN_SOUNDS, tree["train"]["global_batch_size"])
    why = f"a recording has about {found.seconds:.3g} seconds at {found.rate:,} samples per second"
    return tree, _said("recipe", [f"fsdd_simclr with views of {seconds:g} seconds at {rate:,}: {why}", trained])


def _training(found: Found, seen: int, batch: int) -> tuple[dict[str, Any], str]:
    """The section `train`, and why."""
    number = found.num_train
    if number is None:
        steps = max(FEWEST_STEPS, round(seen / batch))
        return {"steps": steps, "global_batch_size": batch}, f"{steps} steps of {batch}: more samples than were counted"
    while batch > number // 2:  # two batches an epoch, so that not half of it is dropped
        batch //= 2
    epochs = max(seen / number, FEWEST_STEPS / (number // batch))
    epochs = min(MOST_EPOCHS, max(1, ceil(epochs)))
    return (
        {"epochs": epochs, "global_batch_size": batch},
        f"{epochs} epochs in batches of {batch}: about {number:,} samples to train on",
    )


def _said(title: str, lines: list[str]) -> list[str]:
    return [f"{title + ':':12}{lines[0]}", *(f"{'':12}{line}" for line in lines[1:])]
