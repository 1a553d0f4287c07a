"""Campaigns without training: the real decisions over made-up or recorded learning curves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipelines.config.flat import fingerprint
from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data.shards.shard_set import ShardSet
from pipelines.tuning import space
from pipelines.tuning.campaign import Campaign, Listener
from pipelines.tuning.plan import Plan, milestones
from pipelines.tuning.records import Look, Trial
from tests.support.recipe import TREE

SPACE = {
    "method.temperature": {"loguniform": [0.05, 1.0]},
    "optim.lr": {"choice": [0.001, 0.003, 0.01]},
}
Curve = Callable[[Trial, float], dict[str, float]]
"""(trial, share of its training) -> what a look sees there."""


def recipe(**tune: Any) -> RunConfig:
    """The tiny recipe with a `tune:` section, changed by keyword; rungs lie at looks 1 and 3 of 9."""
    return parse(TREE, {"train.steps": 90, "tune": {"space": SPACE, "num_trials": 9, "grace": 0.1, **tune}})


def campaign(folder: Path, config: RunConfig | None = None, listeners: Sequence[Listener] = ()) -> Campaign:
    """A campaign of that recipe, on what lies in `folder`."""
    config = config or recipe()
    shards = ShardSet(digest="d", folder=folder, num_train=9, num_test=1, num_classes=2, num_quarantined=0,
                      num_duplicates=0)  # fmt: skip
    plan = Plan(recipe=space.tree(config), tune=space.section(config), shards=shards)

    def work(of: RunConfig) -> tuple[Path, int]:
        return folder / "pretrain" / fingerprint(of.model_dump(mode="json"))[:16], of.train.steps or 0

    return Campaign(plan, folder, config.seed, work, listeners)


def play(
    campaign: Campaign, next_trial: Callable[[], Trial | None], curve: Curve, at_a_time: int = 1, start_s: float = 0.0
) -> None:
    """Give every trial its looks, `at_a_time` trials side by side, one look each in turn; ten steps take a second."""
    running: list[Trial] = []
    while True:
        while len(running) < at_a_time and (new := next_trial()) is not None:
            running.append(new)
        if not running:
            return
        running = [trial for trial in running if _one_look(campaign, trial, curve, start_s)]


def _one_look(campaign: Campaign, trial: Trial, curve: Curve, start_s: float) -> bool:
    """One more look at a trial; whether it goes on."""
    trial = next(t for t in campaign.trials if t.number == trial.number)
    step = next(s for s in milestones(trial.total, campaign.plan.tune.looks) if s > trial.step)
    seen = curve(trial, step / trial.total)
    campaign.looked(trial.number, Look(step=step, values=seen, seconds=start_s + step / 10))
    return next(t for t in campaign.trials if t.number == trial.number).state == "running"


def peak_at(temperature: float) -> Curve:
    """A score that is best at one temperature and learning rate 0.003, and grows with training."""

    def curve(trial: Trial, share: float) -> dict[str, float]:
        changes = {"method.temperature": 0.5, "optim.lr": 0.01, **trial.changes}
        score = 0.9 - abs(changes["method.temperature"] - temperature) / 2 - 0.1 * (changes["optim.lr"] != 0.003)
        score += 0.001 * (changes.get("seed", 0) % 3)  # seeds differ a little
        return {
            "knn_top1": score * (0.5 + share / 2),
            "linear_top1": score * (0.6 + share / 2.5),
            "rankme": 20 - 10 * score,
            "feature_std": 0.5,
            "alignment_uniformity": -score,
            "loss": 5 - score,
        }

    return curve
