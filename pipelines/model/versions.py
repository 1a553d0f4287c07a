"""Versions in the MLflow registry: `NAME`, `NAME@alias` or `NAME/3` to what is known of it and its files."""

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from pipelines import mlflow_store as store
from pipelines.errors import UserError
from pipelines.manifest import sha256_of
from pipelines.mlflow_store import reached
from pipelines.shipping import Unreachable

CANDIDATE = "candidate"
SHA256, FILES = "selfray.sha256", "selfray.files"
"""Tags of a version: the sha256 of its weights; JSON of every file of the model, relative path -> sha256."""
EMBEDDED = Path("selfray-runs") / "mlflow.db"
_WRITTEN = re.compile(r"(?:models:/)?(?P<name>[^@/:]+)(?:@(?P<alias>[^@/:]+)|/(?P<number>[0-9]+))?")


class Version(NamedTuple):
    """One version of a registered model."""

    name: str
    number: int
    run_id: str
    """Its source run; empty where there is none."""
    model_id: str
    """Of the logged model; empty where there is none."""
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.number}"

    @property
    def files(self) -> dict[str, str]:
        """Relative path -> sha256 of everything that was registered; empty: by an older Selfray."""
        listed: dict[str, str] = json.loads(self.tags.get(FILES, "{}"))
        return listed


def find(written: str, tracking_uri: str) -> Version:
    """Look a version up; without alias and number it is the candidate.

    Raises:
        UserError: there is no such version, or the server does not answer.
    """
    parsed = _WRITTEN.fullmatch(written)
    if parsed is None:
        raise UserError(f"{written}: write it as NAME, NAME@alias or NAME/VERSION")
    name, alias, number = parsed["name"], parsed["alias"] or CANDIDATE, parsed["number"]
    try:
        client = store.connect(tracking_uri)
        with reached():
            version = (
                client.get_model_version(name, number) if number else client.get_model_version_by_alias(name, alias)
            )
    except Unreachable as error:
        wanted = f"{name}/{number}" if number else f"{name}@{alias}"
        raise UserError(f"{wanted}: {error} (registry: {store.shown(tracking_uri)})") from None
    return Version(name, int(version.version), version.run_id or "", version.model_id or "", dict(version.tags))


def default_uri() -> str:
    """The registry of commands that read no recipe: MLFLOW_TRACKING_URI, else the storage folder of the demo.

    Raises:
        UserError: neither is there.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    if EMBEDDED.exists():
        return f"sqlite:///{EMBEDDED.resolve()}"
    raise UserError(f"--tracking-uri: give the MLflow server or sqlite:///PATH ({EMBEDDED} is not here)")


def hashes(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file under a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
