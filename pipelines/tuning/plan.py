"""campaign.json: what all trials of a campaign have in common, as every process of it reads it."""

from pathlib import Path
from typing import Any

from pydantic import model_validator

from pipelines.config.flat import fingerprint
from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.config.tune import TuneConfig
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.tuning import records
from pipelines.tuning.space import Changes, section, tree
from ssl_core.config import Config

NAME = "campaign.json"
GROWS = ("num_trials", "confirm", "max_concurrent")
"""Keys of `tune:` that extend or hasten a campaign instead of making it another one."""


class Plan(Config):
    recipe: dict[str, Any]
    """As written, without its `tune:` section."""
    tune: TuneConfig
    shards: ShardSet
    at_a_time: int | None = None
    """Trials that the cluster runs at a time: each has its share of a node's CPU threads. None: one thread each."""

    @model_validator(mode="before")
    @classmethod
    def _without_retired(cls, raw: Any) -> Any:
        """Campaigns recorded by older versions name a cache of decoded images; there is none any more."""
        return {key: value for key, value in raw.items() if key != "decoded"} if isinstance(raw, dict) else raw

    @property
    def prefix(self) -> str:
        """Of the looks' metrics in a training's outbox: another campaign may have looked at it in another way."""
        seen = [self.tune.holdout, self.tune.samples, self.tune.view_samples, self.shards.digest]
        seen.append(self.recipe.get("views"))  # looks are taken in the recipe's own views
        return f"tune-{fingerprint(seen)[:6]}/"

    def config(self, changes: Changes) -> RunConfig:
        """The resolved config of a trial."""
        return parse(self.recipe, changes)

    def keep(self, folder: Path) -> None:
        """
        Raises:
            UserError: what lies there was made of other shards; their scores cannot be compared.
        """
        if (folder / NAME).exists() and load(folder).shards.digest != self.shards.digest:
            raise UserError(
                f"{folder}: its trials were trained on other shards; move it away, or bring their data back"
            )
        records.write(folder / NAME, self.model_dump_json(indent=1))


def load(folder: Path) -> Plan:
    """
    Raises:
        UserError: `folder` is not that of a campaign.
    """
    if not (folder / NAME).exists():
        raise UserError(f"{folder}: holds no {NAME}; not the folder of a campaign")
    return Plan.model_validate_json((folder / NAME).read_text())


def folder(config: RunConfig, data: str, root: Path) -> Path:
    """Where a campaign lies: named by all that decides which trials it makes, and how they are ranked.

    Args:
        data: names the state of the raw files, which is known before they are read.
    """
    searched = section(config).model_dump(mode="json", exclude=set(GROWS))
    recipe = {key: value for key, value in tree(config).items() if key not in ("storage", "tracking", "ray")}
    return root / "tune" / fingerprint([recipe, searched, data])[:16]


def milestones(total: int, looks: int) -> tuple[int, ...]:
    """Steps at which a trial is looked at, the last at its end.

    Raises:
        UserError: fewer steps than looks.
    """
    if total < looks:
        raise UserError(f"tune.looks: a trial of {total} steps cannot be looked at {looks} times; lower tune.looks")
    return tuple(round(total * look / looks) for look in range(1, looks + 1))
