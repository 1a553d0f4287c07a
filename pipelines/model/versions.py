"""Versions in the MLflow registry: `NAME`, `NAME@alias` or `NAME/3` to what is known of it and its files."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import UserError
from pipelines.model.loader import CARD, WEIGHTS, locate, read_card
from pipelines.storage.checksum import sha256_of
from pipelines.tracking import server as store
from pipelines.tracking.server import reached
from pipelines.tracking.shipping import Unreachable

CANDIDATE = "candidate"
SHA256, FILES = "selfray.sha256", "selfray.files"
"""Tags of a version: the sha256 of its weights; JSON of every file of the model, relative path -> sha256."""
EMBEDDED = Path("selfray-runs") / "mlflow.db"
_LOGGED = "models:/"
_WRITTEN = re.compile(r"(?:models:/)?(?P<name>[A-Za-z0-9 ._-]+)(?:@(?P<alias>[^@/:]+)|/(?P<version>[0-9]+))?")


class Reference(NamedTuple):
    """What `NAME`, `NAME@alias` or `NAME/3` says, with or without `models:/` in front."""

    name: str
    alias: str | None
    version: int | None

    def __str__(self) -> str:
        return f"{self.name}/{self.version}" if self.version else f"{self.name}@{self.alias}"


def parse(written: str) -> Reference:
    """Read a reference; one without alias and version means the candidate.

    Raises:
        UserError: it is none.
    """
    found = _WRITTEN.fullmatch(written)
    if found is None:
        raise UserError(f"{written}: not a model version; write it as NAME, NAME@alias or NAME/VERSION")
    version = int(found["version"]) if found["version"] else None
    return Reference(found["name"], None if version else found["alias"] or CANDIDATE, version)


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


def says_which(written: str) -> bool:
    """Whether it names a version by alias or number; a name alone could also be that of a file."""
    found = _WRITTEN.fullmatch(written)
    return bool(found and (found["alias"] or found["version"]))


def find(written: str, tracking_uri: str) -> Version:
    """Look a version up; without alias and number it is the candidate.

    Raises:
        UserError: there is no such version, or the server does not answer.
    """
    wanted = parse(written)
    try:
        client = store.connect(tracking_uri)
        with reached():
            if wanted.version:
                version = client.get_model_version(wanted.name, str(wanted.version))
            else:
                version = client.get_model_version_by_alias(wanted.name, wanted.alias)
    except Unreachable as error:
        raise UserError(f"{wanted}: {error} (looked in {store.shown(tracking_uri)})") from None
    source = version.source or ""  # models:/m-...: the logged model; a copied version names another version here
    model_id = source.removeprefix(_LOGGED) if source.startswith(f"{_LOGGED}m-") else ""
    return Version(wanted.name, int(version.version), version.run_id or "", model_id, dict(version.tags))


def opened(written: str, tracking_uri: str | None, into: Path) -> tuple[Path, Version | None]:
    """The packed model of a version, downloaded, or of a folder (then there is no version).

    Args:
        tracking_uri: by default see `default_uri`.
        into: where a download goes.

    Raises:
        UserError: as `find` and `fetch`.
    """
    if (Path(written) / CARD).exists():
        return Path(written), None
    uri = tracking_uri or default_uri()
    version = find(written, uri)
    return fetch(version, uri, into), version


def fetch(version: Version, tracking_uri: str, into: Path | None = None) -> Path:
    """Download a version; the folder with config.json and the weights.

    Args:
        into: by default a new folder.

    Raises:
        UserError: it cannot be had, or is not what the registry says was registered.
    """
    packed = downloaded(version.uri, tracking_uri, into)
    wanted, found = version.tags.get(SHA256, ""), read_card(packed).sha256
    if wanted and found != wanted:
        raise UserError(f"{version.uri}: {CARD} names other weights than the registry; do not use it")
    return packed


def of_uri(uri: str, tracking_uri: str | None) -> Path:
    """Download what a URI names, a version as `fetch` does; the folder with config.json and the weights.

    Args:
        tracking_uri: by default MLflow's own setting.

    Raises:
        UserError: as `find` and `fetch`.
    """
    if not says_which(uri):  # a logged model, or a file of a run: no tags of a version to compare with
        return downloaded(uri, tracking_uri)
    where = tracking_uri or str(store.mlflow().get_registry_uri())
    return fetch(find(uri, where), where)


def downloaded(uri: str, tracking_uri: str | None, into: Path | None = None) -> Path:
    """Download anything that MLflow has a packed model under; the folder with config.json and the weights.

    Args:
        into: by default a new folder.

    Raises:
        UserError: it cannot be had; MLflow also calls a model ready whose files are gone.
    """
    packed = locate(store.download(uri, tracking_uri, into))
    if missing := [name for name in (CARD, WEIGHTS) if not (packed / name).exists()]:
        raise UserError(f"{uri}: its artifact is gone ({', '.join(missing)}: missing); register it again")
    return packed


def attach(version: Version, tracking_uri: str | None, files: Sequence[Path], kind: str, said: str) -> str:
    """Upload an export to the version's run, and say so in a tag of the version.

    Not to the model itself: its files are listed and checked, so nothing may be added to them.

    Args:
        kind: the format, a part of the path and of the tag.
        said: the tag's text.

    Returns: where the files lie among the run's artifacts.

    Raises:
        UserError: the version has no run, or the server does not answer.
    """
    if not version.run_id:
        raise UserError(f"--attach: {version.uri} has no source run to attach to")
    place = f"export/v{version.number}/{kind}"
    try:
        client = store.connect(tracking_uri or default_uri())
        with reached(store.UPLOAD_TIMEOUT_S):
            for path in files:
                client.log_artifact(version.run_id, str(path), place)
            client.set_model_version_tag(version.name, str(version.number), f"selfray.export.{kind}", said)
    except Unreachable as error:
        raise UserError(f"--attach: {version.uri}: {error}; run the same again") from None
    return place


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
