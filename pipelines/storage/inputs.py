"""inputs.json: what a stage's folder was made from, so that it can be found, audited and resumed without its recipe."""

from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.storage.atomic import write_text
from ssl_core.config import Config

NAME = "inputs.json"
RECORD = "artifact.json"
"""Appears in a stage's folder when the stage is complete."""


class Inputs(Config):
    run: str
    """Name of the run that began it."""
    keys: dict[str, Any]
    """Dotted config keys that the stage read, with their values."""
    given: dict[str, Any]
    """The artifact that it read."""

    def keep(self, folder: Path) -> None:
        write_text(folder / NAME, self.model_dump_json(indent=1))


def load(folder: Path) -> Inputs:
    """
    Raises:
        UserError: `folder` is not that of a stage.
    """
    if not (folder / NAME).exists():
        raise UserError(f"{folder}: holds no {NAME}; not the folder of a stage, or of one made by an older Selfray")
    return Inputs.model_validate_json((folder / NAME).read_text())


def made_from(root: Path, stage: str, keys: dict[str, Any]) -> list[Path]:
    """Folders of a stage that read just these values, oldest first."""
    return [folder for folder in _folders(root, stage) if load(folder).keys == keys]


def may_resume(root: Path, stage: str, run: str, keys: dict[str, Any]) -> None:
    """Refuse to take up a run where it stopped with a config that would make something else.

    Raises:
        UserError: nothing of this run is unfinished, or keys differ; names each.
    """
    unfinished = [f for f in _folders(root, stage) if load(f).run == run and not (f / RECORD).exists()]
    if not unfinished:
        raise UserError(f"--resume: no unfinished {stage} of {run} under {root}; run without --resume")
    there = load(unfinished[-1]).keys
    changed = [key for key in sorted({*there, *keys}) if there.get(key) != keys.get(key)]
    differ = [f"{key} ({there.get(key)} there, {keys.get(key)} here)" for key in changed]
    if differ:
        raise UserError(
            f"--resume: cannot go on with {unfinished[-1]}: {', '.join(differ)}; set it back, or run without --resume "
            "to start anew beside it"
        )


def _folders(root: Path, stage: str) -> list[Path]:
    return [path.parent for path in sorted((root / stage).glob(f"*/{NAME}"), key=lambda path: path.stat().st_mtime)]
