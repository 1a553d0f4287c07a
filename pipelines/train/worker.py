"""One training process as the loop knows it: no Ray in sight."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from pipelines.config.sections import TrainConfig
from pipelines.data.batches.order import Order
from pipelines.errors import UserError
from pipelines.storage import checkpoint, outbox
from pipelines.storage.retry import noted_in, patiently
from pipelines.storage.signals import SAVE, STOP
from pipelines.train import consumption
from ssl_core.methods.base import Method
from ssl_core.optimize.collectives import from_first
from ssl_core.optimize.sharding import is_sharded


@dataclass(frozen=True)
class Worker:
    """Rank 0 speaks for all workers: it alone writes points and checkpoints."""

    rank: int
    size: int
    device: torch.device
    folder: Path
    """The stage's folder, on storage that all workers share."""

    def holds_shares(self, train: TrainConfig) -> bool:
        """Whether it has its share of the parameters only; one that is alone has all of them."""
        return train.parallel == "fsdp" and self.size > 1

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def restore(self, method: Method, optimizer: torch.optim.Optimizer, order: Order) -> int:
        """Go back to the newest whole checkpoint; returns the steps taken, 0 at the very start.

        Rank 0 chooses: a predecessor that is still ending may add one while the others look.

        Raises:
            UserError: the checkpoint belongs to another sample order, this node does not see it, or the storage fails
                and stays so.
        """
        if self.rank != 0:
            if step := from_first(0, self.device):
                try:
                    path = patiently(lambda: checkpoint.of_step(self.checkpoints, step), noted_in(self.folder))
                except OSError as error:
                    raise UserError(f"{error}; rank 0 sees it: do all nodes share this storage?") from None
                checkpoint.restore_(path, method, optimizer)
            return step
        try:
            step, passed = patiently(lambda: self._newest_(method, optimizer, order), noted_in(self.folder))
        except OSError as error:
            raise self._unread(error) from None
        step = from_first(step, self.device)

        def begin() -> None:
            outbox.rewind(self.folder, step)
            for line in passed:
                outbox.note(self.folder, line)
            consumption.begin(self.folder, step)  # last: said twice it would count as two restarts

        self._write("the logs", step, begin)
        return step

    def precision_so_far(self) -> str | None:
        """That of the newest checkpoint; None: there is none, or it is from before it was recorded.

        Raises:
            UserError: the storage fails and stays so.
        """
        try:
            state = patiently(lambda: checkpoint.newest_state(self.checkpoints), noted_in(self.folder))
        except OSError as error:
            raise self._unread(error) from None
        return state.get("precision")

    def _unread(self, error: OSError) -> UserError:
        return UserError(
            f"{self.checkpoints}: cannot be read ({error.strerror or error}); {self.last_good()}; run the same "
            "command again when the storage is back"
        )

    def _newest_(self, method: Method, optimizer: torch.optim.Optimizer, order: Order) -> tuple[int, list[str]]:
        """Load the newest whole checkpoint; its step (0: there is none), and a line for each one passed over."""
        newest, passed = checkpoint.latest(self.checkpoints)
        if newest is None:
            return 0, passed
        _same_order(newest, checkpoint.state_of(newest)["order"], order)
        return checkpoint.restore_(newest, method, optimizer), passed

    def consumed(self, step: int, sums: NDArray[np.int64], replaced: NDArray[np.int64]) -> None:
        """Log which samples the steps up to `step` took; see pipelines/train/consumption.py. Raises as `save`."""
        if self.rank == 0:
            self._write("the consumption log", step, lambda: consumption.append(self.folder, step, sums, replaced))

    def report(self, step: int, total: int, metrics: dict[str, float]) -> None:
        """Put a point in the outbox; it reaches MLflow once a checkpoint covers it. Raises as `save`."""
        if self.rank == 0:
            self._write("the point", step, lambda: outbox.append(self.folder, step=step, total=total, metrics=metrics))

    def save(self, step: int, method: Method, optimizer: torch.optim.Optimizer, extra: dict[str, object]) -> None:
        """Write a checkpoint, and with it make the points up to here final; all workers call it at the same step.

        Raises:
            UserError: the storage is full or not writable, and stays so.
        """
        sharded = is_sharded(method)
        if self.rank != 0 and not sharded:
            return
        held = checkpoint.contents(method, optimizer)
        if sharded:  # once, before what may be tried again: the others do not wait for a disk
            held = checkpoint.gathered(held, keep=self.rank == 0)
        if self.rank != 0:
            return

        def write() -> None:
            consumption.flush(self.folder)
            checkpoint.write(self.checkpoints, step, held, extra)
            outbox.commit(self.folder, step)
            (self.folder / SAVE).unlink(missing_ok=True)

        self._write("the checkpoint", step, write)

    def _write(self, what: str, step: int, write: Callable[[], None]) -> None:
        try:
            patiently(write, noted_in(self.folder), (OSError, SafetensorError))
        except (OSError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"{self.folder}: cannot write {what} of step {step} ({reason}); {self.last_good()}; "
                "free space or fix the rights, then run the same command again"
            ) from None

    def last_good(self) -> str:
        return checkpoint.last_good(self.checkpoints)

    def asked_to_stop(self) -> bool:
        """Ctrl-C in the driver leaves this file; every worker looks, the loop agrees on when."""
        return (self.folder / STOP).exists()

    def asked_to_save(self) -> bool:
        """A node is about to leave, says the driver; rank 0 looks, since it alone saves."""
        return self.rank == 0 and (self.folder / SAVE).exists()


def _same_order(path: Path, there: dict[str, object], order: Order) -> None:
    """What was consumed is a prefix of one order; going on in another one would repeat and skip samples."""
    differ = [
        f"{key} ({there.get(key)} there, {here} here)" for key, here in order.identity.items() if there.get(key) != here
    ]
    if differ:
        raise UserError(
            f"{path}: cannot go on from here, the sample order is another one: {', '.join(differ)}; "
            "set it back, or start in a new folder"
        )
