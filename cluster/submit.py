"""A run, a campaign or a single stage as a job of a cluster: what travels there, and under which name."""

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml

from cluster.jobs import RUNNING, STOPPED, SUCCEEDED, Jobs
from pipelines import secret
from pipelines.config import RunConfig, fingerprint
from pipelines.errors import UserError
from pipelines.provenance import CODE, user

RECIPE = "recipe.yaml"
SHIPPED = (".py", ".yaml", ".yml", ".json")


class Submitted(NamedTuple):
    submission_id: str
    num_files: int
    num_bytes: int
    """Of the working directory, before Ray packs it."""


def submit(jobs: Jobs, config: RunConfig, verb: str, *, again: bool = False) -> Submitted:
    """Start `selfray VERB` of this config on the cluster.

    Args:
        again: also when the same was done before.

    Raises:
        UserError: the same is running there or was done before, or the cluster does not take it.
    """
    config = as_there(config)
    name = free_id(job_id(verb, config), {str(job.submission_id): job.status for job in jobs.all()}, again=again)
    metadata = {"selfray": verb, "recipe": config.name, "user": user(), "storage": str(config.storage)}
    with tempfile.TemporaryDirectory(prefix="selfray-job-") as folder:
        num_files, num_bytes = pack(config, Path(folder))
        # exec: a signal to the job's process then reaches Selfray, not a shell around it
        jobs.submit(shlex.join(["exec", "python", "-m", "pipelines", verb, RECIPE]), name, folder, metadata)
    return Submitted(name, num_files, num_bytes)


def as_there(config: RunConfig) -> RunConfig:
    """The config as the job reads it: on the cluster that it runs in, paths as they are meant here."""
    source = config.source.model_copy(
        update={
            name: _absolute(value)
            for name in type(config.source).model_fields
            if isinstance(value := getattr(config.source, name), Path)
        }
    )
    ray = config.ray.model_copy(update={"address": "auto"})
    return config.model_copy(update={"storage": _absolute(config.storage), "source": source, "ray": ray})


def job_id(verb: str, config: RunConfig) -> str:
    """The same for the same verb and config, wherever it is submitted from."""
    return f"selfray-{verb}-{config.name}-{fingerprint(config.model_dump(mode='json', exclude={'ray'}))[:10]}"


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


def pack(config: RunConfig, folder: Path) -> tuple[int, int]:
    """Put into `folder` what the job needs: the packages and the resolved recipe; returns files and bytes.

    Raises:
        UserError: the recipe holds a password, which Ray would keep where every user of the cluster can read it.
    """
    uri = config.tracking.uri or ""
    if uri != secret.shown(uri):
        raise UserError(
            "tracking.uri: holds a login, which does not travel with a job; write ${env:NAME} there and set NAME on "
            "the cluster's nodes"
        )
    for package in ("ssl_core", "pipelines", "cluster"):
        shutil.copytree(CODE / package, folder / package, ignore=_not_shipped)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    (folder / RECIPE).write_text(text)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def _not_shipped(folder: str, names: list[str]) -> set[str]:
    here = Path(folder)
    kept = {name for name in names if (here / name).is_dir() and name != "__pycache__"}
    return {name for name in names if name not in kept and Path(name).suffix not in SHIPPED}


def _absolute(path: Path) -> Path:
    """As meant by who submits; `~` stays, it is the home of whoever runs the job."""
    return path if str(path).startswith("~") else path.absolute()
