"""What the first-level folders of a folder of images are: splits, classes, or neither."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from pipelines.storage.printable import printable

ROLES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}
"""Names of the folders that are taken for splits."""
NOT_CLASSES = {
    *(name for names in ROLES.values() for name in names),
    *("holdout", "heldout", "hold", "held", "out", "dev", "eval", "evaluation", "extra", "unlabeled", "unlabelled"),
    *("image", "images", "img", "imgs", "mask", "masks", "label", "labels", "annotation", "annotations"),
    *("segmentation", "segmentations", "groundtruth", "ground", "truth", "gt"),
}
"""Words of which names of splits, of images and of masks consist."""
_NAMED = 5


def split_folders(root: Path, extensions: Collection[str]) -> dict[str, Path]:
    """The folders train, test and val below `root`, with val as test where there is no test; else nothing.

    Nothing as well where there are other folders or images beside them: then it is not clear what is meant. Links
    are not looked at, as they may lead elsewhere.
    """
    found: dict[str, Path] = {}
    try:
        inside = [path for path in root.iterdir() if not path.name.startswith(".")]
    except OSError:  # listing it will say why
        return {}
    for path in inside:
        if path.is_dir():
            role = next((role for role, names in ROLES.items() if path.name.lower() in names), None)
            if role is None or role in found or path.is_symlink():
                return {}
            found[role] = path
        elif path.suffix.lower() in extensions:
            return {}
    if "test" not in found and "val" in found:
        found["test"] = found.pop("val")
    return found if found.keys() >= {"train", "test"} else {}


def look_like_splits(folders: Collection[str]) -> bool:
    """Whether several folders are named as splits or as images and masks, e.g. train2017 and val2017."""
    words = [re.findall(r"[a-z]+", folder.lower()) for folder in folders]
    both = all(
        any(name in each for each in words if len(each) == 1 for name in ROLES[role]) for role in ("train", "test")
    )
    return len(folders) > 1 and (both or all(each and set(each) <= NOT_CLASSES for each in words))


def why_no_labels(names: Iterable[str], root: Path, kind: str = "images") -> str:
    """Why the first-level folders of these images (relative names) are not taken for classes, where they may be meant.

    Returns: "" where nothing looks like classes.
    """
    parts = [name.split("/") for name in names]
    folders = sorted({each[0] for each in parts if len(each) > 1})
    loose = [each[0] for each in parts if len(each) == 1]
    if len(folders) > 1 and loose:
        return (
            f"no labels: {len(loose)} of {len(parts)} {kind} lie beside the {len(folders)} folders "
            f"({first(sorted(loose))}); move them if the folders ({first(folders)}) are the classes"
        )
    inner = {each[1] for each in parts if len(each) > 2}
    if len(folders) == 1 and not loose and len(inner) > 1 and all(len(each) > 2 for each in parts):
        return (
            f"no labels: all {kind} lie in the one folder {printable(folders[0])}; if the folders in it "
            f"({first(sorted(inner))}) are the classes, set source.path={printable(str(root / folders[0]))}"
        )
    return ""


def first(names: Collection[str]) -> str:
    """The first few names, for one line."""
    shown = ", ".join(printable(name) for name in list(names)[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
