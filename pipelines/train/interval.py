"""What the loop has done since the last logged point, still on the device; agreed on by all workers at a point.

Shapes: L steps since the last point, W workers.
"""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipelines.data.batches.reading import Arrays
from pipelines.errors import Diverged
from pipelines.train import consumption
from pipelines.train.worker import Worker
from ssl_core.optimize.collectives import gather, mean_over_workers
from ssl_core.types import LossOutput


@dataclass
class Interval:
    """One interval between two points; every worker has one, and all ask it at the same step."""

    worker: Worker
    losses: list[Tensor] = field(default_factory=list)
    ids: list[Tensor] = field(default_factory=list)
    metrics: dict[str, list[Tensor]] = field(default_factory=dict)
    consumed: list[tuple[int, int]] = field(default_factory=list)
    """Per step: the sum of this worker's planned sample ids (train/consumption.py) and how many were replaced."""
    waited: float = 0.0
    since: float = field(default_factory=time.perf_counter)

    def took(self, arrays: Arrays, waited: float) -> None:
        """A batch has come, after `waited` seconds."""
        planned = arrays["planned_id"]
        self.consumed.append((consumption.sum_of(planned), int((planned != arrays["sample_id"]).sum())))
        self.waited += waited

    def add(self, out: LossOutput, ids: Tensor) -> None:
        """A step was taken: its loss and metrics, each the mean over its micro-batches, detached."""
        self.losses.append(out.loss)
        self.ids.append(ids)
        for name, value in out.metrics.items():
            self.metrics.setdefault(name, []).append(value)

    @torch.no_grad()
    def point(self, done: int, global_batch_size: int) -> tuple[dict[str, float], bool]:
        """The metrics after step `done`, equal on all workers, and whether somebody was asked to stop.

        Raises:
            Diverged: a loss is not finite; on every worker.
        """
        names = sorted(self.metrics)
        steps = len(self.losses)
        stop = torch.tensor(float(self.worker.asked_to_stop()), device=self.worker.device)
        local = torch.stack([*self.losses, *(torch.stack(self.metrics[n]).float().mean() for n in names), stop])
        values = mean_over_workers(local.float())  # [L + metrics + 1]
        losses = values[:steps]
        if not losses.isfinite().all():
            self._explain(losses, done - steps)
        seconds = time.perf_counter() - self.since
        point = {
            "loss": losses.mean().item(),
            "samples_per_s": steps * global_batch_size / seconds,
            "data_wait": self.waited / seconds,
            **dict(zip(names, values[steps:-1].tolist(), strict=True)),
        }
        return point, bool(values[-1] > 0)

    @torch.no_grad()
    def log_consumed(self, done: int) -> int:
        """Log what all workers took; returns how many samples were replaced, equal on all workers."""
        mine = torch.tensor(self.consumed, device=self.worker.device)  # [L, 2] int64
        steps = gather(mine).view(-1, len(mine), 2).sum(dim=0).cpu().numpy()  # [L, 2]; wraps modulo 2^64
        self.worker.consumed(done, steps[:, 0], steps[:, 1])
        return int(steps[:, 1].sum())

    def _explain(self, losses: Tensor, before: int) -> None:
        bad = int((~losses.isfinite()).nonzero()[0])
        ids = gather(self.ids[bad])
        raise Diverged(
            f"the loss is not finite at step {before + bad} ({losses[bad].item()}); sample ids of that batch: "
            f"{', '.join(map(str, ids[:8].tolist()))}, ...; {self.worker.last_good()}; "
            "lower optim.lr or set optim.grad_clip"
        )
