"""Files that are named after the split they hold: train.csv and test.csv, train-00000-of-00002.parquet."""

import re
from collections.abc import Sequence
from pathlib import Path

from pipelines.data.sources._layout import ROLES

_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}


def by_role(files: Sequence[Path]) -> dict[str, list[Path]]:
    """train and test, if each of the files in one folder is named as one of them (val is test where there is none).

    Returns: {} where that is not so.
    """
    found: dict[str, list[Path]] = {}
    for path in files:
        word = re.match(r"[a-z]+", path.stem.lower())
        role = _ROLE_OF.get(word[0]) if word else None
        if role is None:
            return {}
        found.setdefault(role, []).append(path)
    if "test" not in found and "val" in found:
        found["test"] = found.pop("val")
    same = len({path.parent for path in files}) == 1
    return found if same and found.keys() >= {"train", "test"} else {}


def pattern(files: Sequence[Path]) -> str:
    """The one file, or what matches just these in their folder: `DIR/train*.parquet`."""
    if len(files) == 1:
        return str(files[0])
    word = re.match(r"[A-Za-z]+", files[0].stem)
    assert word is not None
    return str(files[0].parent / f"{word[0]}*{files[0].suffix}")
