"""What local Rays leave behind: a folder of logs for each, which Ray never removes."""

import re
import shutil
import time
from pathlib import Path

import psutil

AGE_S = 3600.0
"""Logs so young are kept: they may be wanted, or be those of a Ray of another container that shares the folder."""
_NAME = re.compile(r"session_\d{4}-\d\d-\d\d_[\d_-]+_(?P<pid>\d+)")


def remove(folder: Path, now: float | None = None) -> int:
    """Remove the session folders below `folder` whose process is gone; returns how many. Whatever fails is left."""
    found = [path for path in folder.glob("session_*") if not path.is_symlink() and _is_over(path, now or time.time())]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return len(found)


def _is_over(session: Path, now: float) -> bool:
    name = _NAME.fullmatch(session.name)
    if name is None or psutil.pid_exists(int(name["pid"])):
        return False
    try:
        newest = max((path.lstat().st_mtime for path in session.glob("logs/*")), default=session.stat().st_mtime)
    except OSError:
        return False
    return now - newest > AGE_S
