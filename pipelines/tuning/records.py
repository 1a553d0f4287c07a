"""A campaign on disk: one folder, one `trial.json` per trial. These records are the truth; all else is derived.

    tune/<hash>/campaign.json              recipe, `tune:` section, shards (pipelines/tuning/plan.py)
    tune/<hash>/floors.json                the metrics of the raw input and of the encoder as it is drawn
    tune/<hash>/trials/0007-<hash>/        trial.json, and metrics.jsonl for MLflow
    tune/<hash>/report/                    report.html, report.json, winner.yaml

What a trial trains lies where `selfray run` of its config would put it (`pretrain/<hash>`), so nothing is
trained twice, by whatever verb. Records are written aside and renamed; only the driver writes them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pipelines.errors import UserError
from pipelines.storage import atomic
from pipelines.tuning.space import Changes
from ssl_core.config import Config

State = Literal["waiting", "running", "done", "stopped", "collapsed", "failed"]
Kind = Literal["search", "confirm", "default"]
OPEN: tuple[State, ...] = ("waiting", "running")
NAME = "trial.json"


class Look(Config):
    """One look at a trial's representation."""

    step: int
    values: dict[str, float]
    """Every metric of tuning/config.py that could be had, and the gauges of collapse."""
    seconds: float
    """Spent on the trial until here, over all its processes; without what a kill threw away: a process that goes on
    counts from the last look that was saved."""


class Trial(Config):
    number: int
    kind: Kind
    """confirm: one of the best on a fresh seed; default: the recipe's own config on it."""
    changes: Changes
    """Dotted key -> value, the seed included where it is not the recipe's."""
    of: int | None = None
    """The trial that this one confirms."""
    identity: str
    """Hash of the whole resolved config."""
    work: Path = Path()
    """Where it trains: the folder of the pretrain stage."""
    total: int = 0
    """Steps of a full training."""
    state: State = "waiting"
    reason: str = ""
    """Why it was stopped or failed, in one line."""
    curable: bool = False
    """It failed by what a rerun may cure: a full storage, a lost node, a held lock; not by its config."""
    looks: tuple[Look, ...] = ()

    @property
    def folder_name(self) -> str:
        return f"{self.number:04d}-{self.identity[:12]}"

    @property
    def seconds(self) -> float:
        return self.looks[-1].seconds if self.looks else 0.0

    @property
    def step(self) -> int:
        return self.looks[-1].step if self.looks else 0

    def look_at(self, step: int) -> Look | None:
        return next((look for look in self.looks if look.step == step), None)

    def value(self, metric: str) -> float | None:
        """The newest value of a metric."""
        return self.looks[-1].values.get(metric) if self.looks else None

    def with_(self, **changed: Any) -> "Trial":
        return self.model_copy(update=changed)


def keep(campaign: Path, trial: Trial) -> None:
    folder = campaign / "trials" / trial.folder_name
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / NAME, trial.model_dump_json(indent=1))


def read(folder: Path) -> Trial:
    """
    Raises:
        UserError: the file is damaged.
    """
    try:
        return Trial.model_validate_json((folder / NAME).read_text())
    except ValidationError as error:
        why = error.errors(include_url=False)[0]
        where = ".".join(map(str, why["loc"]))
        reason = f"{where}: {why['msg']}" if where else why["msg"]
        raise UserError(
            f"{folder / NAME}: not the record of a trial ({reason}); put back a copy, or delete {folder}: another "
            "trial takes its place"
        ) from None


def trials(campaign: Path) -> list[Trial]:
    """All recorded ones, by number."""
    return [read(folder) for folder in _folders(campaign)]


def write(path: Path, text: str) -> None:
    """Whole or not at all, also when the machine loses its power."""
    atomic.write_text(path, text)


def _folders(campaign: Path) -> Iterator[Path]:
    yield from sorted(path.parent for path in campaign.glob(f"trials/*/{NAME}"))
