"""Where a run came from: commit, uncommitted changes, versions, machine."""

import getpass
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.config import secret

MAX_PATCH_BYTES = 1_000_000
CODE = Path(__file__).resolve().parents[2]
BROUGHT = "commit.json"
"""Lies beside code that was sent to a cluster without its checkout: what `commit` and `user` said at home."""


class Commit(NamedTuple):
    """State of the working tree that the code was imported from."""

    commit: str
    """Empty: not a git checkout, or one without commits."""
    branch: str
    dirty: bool
    """Differs from the commit, files that git does not know included."""
    patch: str
    """`git diff HEAD`, cut at MAX_PATCH_BYTES."""


def commit(folder: Path = CODE) -> Commit:
    """Ask git about the checkout that `folder` belongs to; one that merely contains it (a .venv) does not count.

    Of code that came without one: what was brought along.
    """
    if brought := _brought(folder):
        return Commit(*(brought[name] for name in Commit._fields))
    head = _git(folder, "rev-parse", "HEAD").strip()
    if not head or not _git(folder, "ls-files", "--", "."):
        return Commit("", "", False, "")
    patch = _git(folder, "diff", "HEAD", "--no-color", "--no-ext-diff")
    if len(patch) > MAX_PATCH_BYTES:
        patch = patch[:MAX_PATCH_BYTES] + f"\n[cut: the patch has {len(patch)} characters]\n"
    dirty = bool(_git(folder, "status", "--porcelain").strip())
    return Commit(head, _git(folder, "branch", "--show-current").strip(), dirty, patch)


def bring(folder: Path) -> None:
    """Write into `folder` what a copy of the code there cannot ask git for, without the secrets known here."""
    here = commit()
    brought = {**here._asdict(), "patch": secret.masked(here.patch), "user": user()}
    (folder / BROUGHT).write_text(json.dumps(brought))


def environment() -> dict[str, object]:
    """Machine and every installed distribution, as JSON-able values."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "gpus": _gpus(),
        "packages": dict(sorted((d.metadata["Name"], d.version) for d in distributions() if d.metadata["Name"])),
    }


def user() -> str:
    """Who started the run; of a job, who submitted it."""
    if brought := _brought(CODE):
        return str(brought["user"])
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id need not have a name
        return str(os.getuid())


def _brought(folder: Path) -> dict[str, Any] | None:
    path = folder / BROUGHT
    return dict(json.loads(path.read_text())) if path.exists() else None


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command; empty when there is no git, no checkout or no commit."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    lines = cpuinfo.read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _gpus() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split("\n")[:-1]
