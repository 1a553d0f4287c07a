"""A stage turns one recorded artifact into the next, once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipelines.config.chosen import chosen, dotted
from pipelines.config.flat import fingerprint, flat
from pipelines.config.run import SetupConfig
from pipelines.storage import inputs, lock
from pipelines.storage.atomic import write_text
from pipelines.storage.inputs import RECORD, Inputs
from pipelines.tracking import display, runs
from pipelines.tracking.datasets import DatasetSummary
from ssl_core.config import Config


class Artifact(Config):
    """What a stage hands over: a small record of what lies in a folder, found by content."""

    digest: str
    """Hash of the content; the next stage is keyed by it, not by where the folder lies."""


class Nothing(Artifact):
    """What the first stage is given."""

    digest: str = ""


Settings = TypeVar("Settings", bound=SetupConfig)
Given = TypeVar("Given", bound=Artifact)
Made = TypeVar("Made", bound=Artifact)


BESIDE = ("views.eval", "ingest.max_pixels", "ingest.codecs")
"""By these a bare checkpoint is evaluated as its recipe would be."""


@dataclass(frozen=True)
class Stage(Generic[Settings, Given, Made]):
    """`run(config, given, folder)` writes into `folder` and returns what it made.

    The folder name is a hash of `given` and of the config keys that the stage reads, but for those at their default,
    so changing `evaluate:` in the YAML never retrains, and a killed run picks up at the stage it died in.
    Whatever a stage logs it writes into its folder; tracking mirrors the folder to MLflow.
    """

    name: str
    version: int
    """Raised when the same input would make something else, a changed default included."""
    reads: tuple[str, ...]
    """Dotted keys, or whole sections."""
    makes: type[Made]
    run: Callable[[Settings, Given, Path], Made]
    ignores: tuple[str, ...] = ()
    """Keys under `reads` that change how fast or where, not what."""
    also: Callable[[Settings], str] | None = None
    """What the work depends on beside config and `given`, e.g. the state of raw files; enters the hash."""

    dataset: Callable[[Path], DatasetSummary] | None = None
    """Describes to MLflow the data set that a finished folder holds."""

    def keys(self, config: SetupConfig) -> dict[str, Any]:
        """The dotted keys that decide what is made, with their values."""
        return {k: v for k, v in flat(config).items() if self.decides(k)}

    def deciding(self, config: SetupConfig) -> dict[str, Any]:
        """Those of them that differ from the defaults of their classes: a new key at its default is no other work."""
        return {k: v for k, v in dotted(chosen(config)).items() if self.decides(k)}

    def inputs(self, config: Settings, given: Artifact) -> Inputs:
        """What the folder says of how it was made."""
        beside = {k: v for k, v in flat(config).items() if _under(k, BESIDE)}
        return Inputs(run=config.name, keys=self.keys(config), given=given.model_dump(mode="json"), beside=beside)

    def decides(self, key: str) -> bool:
        """Whether a dotted key, or one below it, decides what is made."""
        where = key.endswith(".tokenizer.file")  # its sha256 says what it is
        return _under(key, self.reads) and not _under(key, self.ignores) and not where

    def folder(self, config: Settings, given: Given, root: Path) -> Path:
        also = self.also(config) if self.also else None
        return root / self.name / fingerprint([self.version, self.deciding(config), given.digest, also])[:16]

    def __call__(self, config: Settings, given: Given, root: Path) -> Made:
        folder = self.folder(config, given, root)
        record = folder / RECORD
        folder.mkdir(parents=True, exist_ok=True)
        mine = lock.alone(folder / ".lock", lock.STAGE_WAIT_S, lambda text: display.say(f"{self.name}: {text}"))
        with mine, runs.stage_run(config, root, self.name, folder, reused=record.exists(), dataset=self.dataset):
            if record.exists():
                display.say(f"{self.name}: reused {folder}")
                return self.makes.model_validate_json(record.read_text())
            for old in self._of_older_version(config, root)[-1:]:
                display.say(f"{self.name}: {old} was made by an older Selfray; it is made anew, see docs/upgrading.md")
            self.inputs(config, given).keep(folder)
            with display.watch(self.name, folder):
                made = self.run(config, given, folder)
            write_text(record, made.model_dump_json(indent=2))  # the record appears only when the stage is complete
            return made

    def _of_older_version(self, config: Settings, root: Path) -> list[Path]:
        """Finished folders of the same keys that are named as older versions named them."""
        same = inputs.made_from(root, self.name, self.keys(config), self.deciding(config))
        return [path for path in same if (path / RECORD).exists() and not inputs.load(path).beside]


def _under(key: str, prefixes: tuple[str, ...]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)
