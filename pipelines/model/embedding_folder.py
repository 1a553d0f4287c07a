"""Which files of an output folder of `embed` are its own: those, and no others, are replaced or removed.

Names that begin with `_` are left out by pandas, pyarrow and Spark when they read the folder as one table.
"""

import re
from pathlib import Path

from pipelines.errors import UserError
from pipelines.storage.atomic import ASIDE

NAME, QUARANTINE, PARTS = "_embeddings.json", "_quarantine.parquet", "_parts"
INPUTS = "inputs.json"
_PART = re.compile(r"part-(?P<index>\d{5,})\.parquet")
_BEFORE_INPUTS = re.compile(rf"\.lock|\..*{re.escape(ASIDE)}")
"""What a process that was killed before it wrote `inputs.json` has left in `_parts/`."""


def part_name(index: int) -> str:
    return f"part-{index:05d}.parquet"


def may_write(folder: Path) -> None:
    """
    Raises:
        UserError: the folder holds files that `embed` did not write.
    """
    if not folder.is_dir():
        return
    if (folder / PARTS / INPUTS).exists():  # ours; what lies beside the table is no matter, but files in it are
        strangers = [path for path in folder.glob("*.parquet") if path.name != QUARANTINE and not is_ours(path)]
    else:
        inside = (path for path in (folder / PARTS).glob("*") if not _BEFORE_INPUTS.fullmatch(path.name))
        strangers = [*(path for path in folder.iterdir() if path.name != PARTS), *inside]
    if not strangers:
        return
    if (folder / "parts" / INPUTS).exists():
        raise UserError(f"--output: {folder}: holds embeddings as an older Selfray wrote them; give an empty folder")
    name = min(path.relative_to(folder).as_posix() for path in strangers)
    raise UserError(f"--output: {folder}: holds {name!r}, which embed did not write; give an empty folder")


def is_ours(path: Path) -> bool:
    """Whether a Parquet file is a part that was made here: its record, or the chunks it is made of, say so."""
    found = _PART.fullmatch(path.name)
    state = path.parent / PARTS
    return found is not None and any(
        next(state.glob(pattern), None) is not None
        for pattern in (f"{found['index']}.json", f"{found['index']}-*.chunk.parquet")
    )
