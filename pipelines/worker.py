"""One training process as the loop knows it: no Ray in sight."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from pipelines import checkpoint, outbox
from pipelines.errors import UserError
from ssl_core.methods.base import Method

STOP = "stop"


@dataclass(frozen=True)
class Worker:
    """Rank 0 speaks for all workers: it alone writes points and checkpoints."""

    rank: int
    size: int
    device: torch.device
    folder: Path
    """The stage's folder, on storage that all workers share."""

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def restore(self, method: Method, optimizer: torch.optim.Optimizer) -> int:
        """Go back to the newest whole checkpoint; returns the steps taken, 0 at the very start."""
        path, passed = checkpoint.latest(self.checkpoints)
        step = checkpoint.restore_(path, method, optimizer) if path else 0
        if self.rank == 0:
            outbox.rewind(self.folder, step)
            for line in passed:
                outbox.note(self.folder, line)
        return step

    def report(self, step: int, total: int, metrics: dict[str, float]) -> None:
        """Put a point in the outbox; it reaches MLflow once a checkpoint covers it."""
        if self.rank == 0:
            outbox.append(self.folder, step=step, total=total, metrics=metrics)

    def save(self, step: int, method: Method, optimizer: torch.optim.Optimizer, extra: dict[str, object]) -> None:
        """Write a checkpoint, and with it make the points up to here final.

        Raises:
            UserError: the storage is full or not writable.
        """
        if self.rank != 0:
            return
        try:
            checkpoint.save(self.checkpoints, step, method, optimizer, extra)
        except (OSError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"{self.checkpoints}: cannot write the checkpoint of step {step} ({reason}); {self.last_good()}; "
                "free space or fix the rights, then run the same command again"
            ) from None
        outbox.commit(self.folder, step)

    def last_good(self) -> str:
        path, _ = checkpoint.latest(self.checkpoints)
        return f"last good checkpoint: {path}" if path else "no checkpoint was written yet"

    def asked_to_stop(self) -> bool:
        """Ctrl-C in the driver leaves this file; every worker looks, the loop agrees on when."""
        return (self.folder / STOP).exists()
