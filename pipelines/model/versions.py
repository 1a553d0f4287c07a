"""Versions in the MLflow registry: `NAME`, `NAME@alias` or `NAME/3` to what is known of it and its files."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import UserError
from pipelines.model.card_file import CARD, WEIGHTS, read_card
from pipelines.model.loader import locate
from pipelines.storage.checksum import sha256_of
from pipelines.tracking import server as store
from pipelines.tracking.server import reached
from pipelines.tracking.shipping import Unreachable

CANDIDATE, CHAMPION = "candidate", "champion"
SHA256, FILES = "selfray.sha256", "selfray.files"
"""Tags of a version: the sha256 of its weights; JSON of every file of the model, relative path -> sha256."""
EMBEDDED = Path("selfray-runs") / "mlflow.db"
_LOGGED = "models:/"
_BY_MLFLOW = {"registered_model_meta"}
"""What MLflow itself adds while it downloads a version."""
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
    """Look a version up; without alias and number it is the candidate, or the champion where there is none.

    Raises:
        UserError: there is no such version, or the server does not answer.
    """
    wanted, where = parse(written), f"(looked in {store.shown(tracking_uri)})"
    try:
        client = store.connect(tracking_uri)
        with reached():
            if wanted.version:
                version = client.get_model_version(wanted.name, str(wanted.version))
            else:
                aliases = client.get_registered_model(wanted.name).aliases
                chosen = (str(wanted.alias),) if says_which(written) else (CANDIDATE, CHAMPION)
                number = next((aliases[alias] for alias in chosen if alias in aliases), None)
                if number is None:
                    raise UserError(
                        f"{wanted}: alias {' or '.join(chosen)} not found; {_there(wanted.name, aliases)} {where}"
                    )
                version = client.get_model_version(wanted.name, str(number))
    except Unreachable as error:
        raise UserError(f"{wanted}: {error} {where}") from None
    source = version.source or ""  # models:/m-...: the logged model; a copied version names another version here
    model_id = source.removeprefix(_LOGGED) if source.startswith(f"{_LOGGED}m-") else ""
    return Version(wanted.name, int(version.version), version.run_id or "", model_id, dict(version.tags))


def _there(name: str, aliases: Mapping[str, str]) -> str:
    """What could have been asked for."""
    if not aliases:
        return f"no version has an alias; write {name}/VERSION"
    bears = ", ".join(f"version {number} is @{alias}" for alias, number in sorted(aliases.items()))
    return f"{bears}; write {name}@{min(aliases)}"


def opened(written: str, tracking_uri: str | None, into: Path) -> tuple[Path, Version | None]:
    """The packed model of a version, downloaded, or of a folder (then there is no version).

    Args:
        tracking_uri: by default see `default_uri`.
        into: where a download goes.

    Raises:
        UserError: as `find` and `fetch`.
    """
    packed = locate(written)
    if (packed / CARD).exists():
        return packed, None
    if Path(written).exists() and not _WRITTEN.fullmatch(written):
        raise UserError(f"{written}: holds no {CARD}; give NAME, NAME@alias, NAME/VERSION, or the folder of a model")
    parse(written)  # what is no reference at all is said before a server is asked for
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
    folder = store.download(version.uri, tracking_uri, into)
    packed = _packed(folder, version.uri)
    wanted, found = version.tags.get(SHA256, ""), read_card(packed).sha256
    if wanted and found != wanted:
        raise UserError(f"{version.uri}: {CARD} names other weights than the registry; do not use it")
    if faults := differences(files_of(folder), version.files):
        raise UserError(f"{version.uri}: {faults[0]}; do not use it")
    return packed


def of_uri(uri: str, tracking_uri: str | None, into: Path) -> Path:
    """Download what a URI names, a version as `fetch` does; the folder with config.json and the weights.

    Args:
        tracking_uri: by default MLflow's own setting.
        into: where it goes.

    Raises:
        UserError: as `find` and `fetch`.
    """
    if not says_which(uri):  # a logged model, or a file of a run: no tags of a version to compare with
        return downloaded(uri, tracking_uri, into)
    where = tracking_uri or str(store.mlflow().get_registry_uri())
    return fetch(find(uri, where), where, into)


def downloaded(uri: str, tracking_uri: str | None, into: Path | None = None) -> Path:
    """Download anything that MLflow has a packed model under; the folder with config.json and the weights.

    Args:
        into: by default a new folder.

    Raises:
        UserError: it cannot be had; MLflow also calls a model ready whose files are gone.
    """
    return _packed(store.download(uri, tracking_uri, into), uri)


def _packed(folder: Path, uri: str) -> Path:
    packed = locate(folder)
    if missing := [name for name in (CARD, WEIGHTS) if not (packed / name).exists()]:
        raise UserError(f"{uri}: its artifact is gone ({', '.join(missing)}: missing); register it again")
    return packed


def differences(there: Mapping[str, Path], registered: Mapping[str, str]) -> list[str]:
    """Every difference of `files_of` a model from what was registered; none where that is not known."""
    if not registered:
        return []
    lost = [f"{name}: missing; the artifact is not what was registered" for name in registered if name not in there]
    added = [f"{name}: was not registered; somebody added it" for name in there if name not in registered]
    changed = [
        f"{name}: {'not what was registered' if path.stat().st_size else 'empty'}"
        for name, path in there.items()
        if name in registered and sha256_of(path) != registered[name]
    ]
    return lost + added + changed


def files_of(folder: Path) -> dict[str, Path]:
    """Relative path -> path of every file of a model under a folder."""
    there = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in there.items() if name not in _BY_MLFLOW}


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
