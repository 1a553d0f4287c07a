"""Submitting: what travels to a cluster, and under which name."""

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from cluster.entrypoint import Entrypoint
from cluster.jobs import RUNNING, STOPPED, SUCCEEDED, Jobs
from pipelines.errors import UserError
from pipelines.tracking import provenance

SHIPPED = (".py", ".yaml", ".yml", ".json")


class Submitted(NamedTuple):
    submission_id: str
    num_files: int
    num_bytes: int
    """Of the working directory, before Ray packs it."""


def submit(jobs: Jobs, wanted: Entrypoint, *, again: bool = False) -> Submitted:
    """Start it on the cluster.

    Args:
        again: also when the same was done before.

    Raises:
        UserError: the same is running there or was done before, or the cluster does not take it.
    """
    name = free_id(wanted.job_id, {str(job.submission_id): job.status for job in jobs.all()}, again=again)
    metadata = {"selfray": wanted.verb, "recipe": wanted.name, "user": provenance.user()}
    metadata["storage"] = str(wanted.storage)
    with tempfile.TemporaryDirectory(prefix="selfray-job-") as folder:
        num_files, num_bytes = pack(wanted, Path(folder))
        jobs.submit(wanted.command, name, folder, metadata)
    return Submitted(name, num_files, num_bytes)


def free_id(base: str, known: dict[str, str], *, again: bool) -> str:
    """`base`, or with the number of the attempt where earlier ones failed or were stopped.

    Args:
        known: submission id -> status, of all jobs there.
        again: also after one that succeeded.

    Raises:
        UserError: one is running, or has succeeded.
    """
    attempt = 1
    while (name := base if attempt == 1 else f"{base}-{attempt}") in known:
        status = known[name]
        if status in RUNNING:
            raise UserError(
                f"{name}: the same config is {status.lower()} there already; `selfray logs {name} --follow` shows it, "
                f"`selfray stop {name}` ends it"
            )
        if status == SUCCEEDED and not again:
            raise UserError(
                f"{name}: the same config was done there already; `selfray logs {name}` shows it, --again submits it "
                "all the same (stages that are recorded are reused)"
            )
        assert status in ("FAILED", STOPPED, SUCCEEDED), status
        attempt += 1
    return name


def pack(wanted: Entrypoint, folder: Path) -> tuple[int, int]:
    """Put into `folder` what the job needs: the packages, where they come from, its files; returns files and bytes."""
    for package in ("ssl_core", "pipelines", "cluster"):
        shutil.copytree(provenance.CODE / package, folder / package, ignore=_not_shipped)
    provenance.bring(folder)
    for name, text in wanted.files.items():
        (folder / name).write_text(text)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def _not_shipped(folder: str, names: list[str]) -> set[str]:
    here = Path(folder)
    kept = {name for name in names if (here / name).is_dir() and name != "__pycache__"}
    return {name for name in names if name not in kept and Path(name).suffix not in SHIPPED}
