"""A training worker that is looked at: after each look it asks whether to go on. Free of Ray.

The loop puts a look into the outbox and saves a checkpoint of the same step; the driver hears of it, writes into the
trial's record what follows, and the worker reads it there. The record is written before the worker goes on, so
what was decided is never decided twice.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.errors import UserError
from pipelines.storage import checkpoint, outbox
from pipelines.storage.signals import STOP
from pipelines.train.worker import Worker
from pipelines.tuning import records
from pipelines.tuning.plan import Plan, milestones
from pipelines.tuning.records import OPEN, Look
from pipelines.tuning.trials.objective import SECONDS
from ssl_core.methods.base import Method

PATIENCE_S = 600
"""For the driver's decision to be seen; it takes milliseconds where the driver lives."""


class Ended(Exception):
    """The driver has ended this trial; its checkpoint is safe."""


@dataclass(frozen=True)
class TrialWorker(Worker):
    record: Path
    """The trial's folder of records."""
    total: int
    """Steps of a full training."""
    plan: Plan
    tell: Callable[[Look], None] | None = None
    """Reports a look to the driver; None: another process does."""

    def save(self, step: int, method: Method, optimizer: torch.optim.Optimizer, extra: dict[str, object]) -> None:
        super().save(step, method, optimizer, extra)
        if self.rank == 0 and any(look.step == step for look in self.looks()):
            self.ask(step)

    def asked_to_stop(self) -> bool:
        return super().asked_to_stop() or (self.record.parents[1] / STOP).exists()

    def known(self) -> list[Look]:
        """The looks of earlier processes that a checkpoint covers."""
        reached = checkpoint.latest_step(self.checkpoints)
        return [look for look in self.looks() if look.step <= reached]

    def looks(self) -> list[Look]:
        return looks(self.folder, self.plan, self.total)

    def ask(self, step: int) -> None:
        """Tell the driver of the look at `step`, and do what it says.

        Raises:
            Ended: the trial is over. With more than one worker all are asked to stop at the next point instead.
        """
        (look,) = (look for look in self.looks() if look.step == step)
        if self.tell and records.read(self.record).look_at(step) is None:
            self.tell(look)
        if self._goes_on(step) or step == self.total:
            return
        if self.size == 1:
            raise Ended
        (self.folder / STOP).touch()

    def _goes_on(self, step: int) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            trial = records.read(self.record)
            if trial.look_at(step) is not None:
                return trial.state in OPEN or trial.step > step
            if trial.state not in OPEN:
                return False
            if self.asked_to_stop():
                return True  # the driver is ending: the loop stops at its next point
            if time.monotonic() > deadline:
                raise UserError(f"{self.record}: nobody has decided on step {step}; is the campaign's driver alive?")
            time.sleep(0.05)


def looks(work: Path, plan: Plan, total: int, *, saved: bool = False) -> list[Look]:
    """What a training has logged so far of the looks that this campaign asks for.

    Args:
        saved: only those that a checkpoint covers.
    """
    points = outbox.unrepeated((point for _, point in outbox.committed(work, 0)), {}) if saved else outbox.read(work)
    at: dict[int, dict[str, float]] = {step: {} for step in milestones(total, plan.tune.looks)}
    for point in points:
        if point.step in at:
            at[point.step] |= point.metrics  # of a training that was there before, its loss is a point of its own
    return [_look(step, found, plan.prefix) for step, found in at.items() if plan.prefix + SECONDS in found]


def _look(step: int, metrics: Mapping[str, float], prefix: str) -> Look:
    values = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    if "loss" in metrics:
        values["loss"] = metrics["loss"]
    return Look(step=step, seconds=values.pop(SECONDS), values=values)
