"""Was every sample of the plan consumed exactly once? Compares the consumption log with the order, step by step.

Shapes: N train samples.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.batches import quarantine
from pipelines.data.batches.order import Order
from pipelines.data.batches.quarantine import Quarantined
from pipelines.data.shards.manifest import Manifest, load
from pipelines.data.shards.schema import column_of_samples
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.storage import inputs, parquet
from pipelines.tracking.markdown import table
from pipelines.train import consumption
from ssl_core.config import Config

Ints = NDArray[np.int64]


class EpochCount(Config):
    """Samples of one epoch."""

    epoch: int
    planned: int
    consumed: int
    repeated: int
    """Consumed more than once."""
    skipped: int
    """Not consumed although later ones were."""
    replaced: int
    """Did not decode; another sample of the same row group took the place."""


class Audit(Config):
    """What the consumption log proves."""

    epochs: tuple[EpochCount, ...]
    dropped_per_epoch: int
    """Samples that do not fill a global batch; other ones in each epoch."""
    steps: int
    """Optimizer steps logged."""
    total: int
    """Optimizer steps planned."""
    ingest_quarantined: int
    """Rows that ingest set aside; they are in no epoch."""
    wrong_steps: tuple[int, ...]
    """Steps whose samples were not the planned ones."""
    restarts: tuple[int, ...]
    """Steps from which another process went on."""
    taken_again: int
    """Steps whose work was lost with a process and that the next one took again."""
    quarantined: tuple[Quarantined, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every planned step is in the log."""
        return self.steps == self.total

    @property
    def is_exact(self) -> bool:
        """Whether what was consumed so far is what was planned up to there."""
        return not self.wrong_steps and not any(epoch.repeated or epoch.skipped for epoch in self.epochs)

    def metrics(self) -> dict[str, float]:
        """What MLflow keeps beside the curves."""
        totals = {kind: sum(getattr(e, kind) for e in self.epochs) for kind in list(EpochCount.model_fields)[1:]}
        counts = {**totals, "restarts": len(self.restarts), "quarantined": len(self.quarantined)}
        counts["ingest_quarantined"] = self.ingest_quarantined
        return {f"audit/{kind}": float(count) for kind, count in counts.items()}

    def verdict(self) -> str:
        if self.is_exact and self.is_complete:
            return "exact: every planned sample was consumed once"
        if self.is_exact:
            return "exact so far: every sample planned up to here was consumed once"
        skipped, repeated = (sum(getattr(e, kind) for e in self.epochs) for kind in ("skipped", "repeated"))
        return f"NOT EXACT: {skipped} samples skipped, {repeated} repeated; wrong steps: {list(self.wrong_steps[:8])}"

    def markdown(self) -> str:
        """What `selfray audit` prints and MLflow shows."""
        rows = [f"{self.verdict()}; {self.steps:,} of {self.total:,} steps.", "", *_epoch_table(self.epochs), ""]
        at = f" (after steps {', '.join(map(str, self.restarts))})" if self.restarts else ""
        rows += [f"- left over per epoch, less than a global batch: {self.dropped_per_epoch}"]
        rows += [f"- restarts: {len(self.restarts)}{at}; steps taken again from a checkpoint: {self.taken_again}"]
        rows += [f"- quarantined at ingest: {self.ingest_quarantined}; while training: {len(self.quarantined)}"]
        rows += [f"  - {q.line()}" for q in self.quarantined]
        return "\n".join(rows) + "\n"

    def write(self, folder: Path) -> None:
        """audit.json and audit.md, for MLflow."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "audit.json").write_text(json.dumps(self.model_dump(mode="json"), indent=1))
        (folder / "audit.md").write_text(self.markdown())


def _epoch_table(epochs: Sequence[EpochCount]) -> list[str]:
    """As Markdown, samples per epoch; epochs in a row with the same numbers share a line."""
    columns = list(EpochCount.model_fields)
    rows = []
    for _, equal in groupby(epochs, key=lambda e: [getattr(e, c) for c in columns[1:]]):
        alike = list(equal)
        first, last = alike[0], alike[-1]
        name = f"{first.epoch}" if first is last else f"{first.epoch} to {last.epoch}"
        rows.append([name, *(f"{getattr(first, c):,}" for c in columns[1:])])
    return table(["epochs", *columns[1:]], rows, numeric=range(len(columns)))


def of_run(folder: Path) -> Audit:
    """The audit of a pre-training's folder, finished or not.

    Raises:
        UserError: there is no log in it, or its shards are gone.
    """
    made_from = inputs.load(folder)
    shards, keys = ShardSet.model_validate(made_from.given), made_from.keys
    listing = load(shards.folder)
    sizes = np.array([rows for file in listing.train for rows in file.row_groups], dtype=np.int64)
    order = Order(sizes, listing.digest, keys["seed"], keys["data.shuffle_rows"], keys["train.global_batch_size"])
    total = keys["train.steps"] or keys["train.epochs"] * order.batches_per_epoch
    return audit(order, shards.folder, listing, folder, total)


def audit(order: Order, shards: Path, manifest: Manifest, folder: Path, total: int) -> Audit:
    """Hold the log in `folder` against the plan.

    Args:
        order: of the train split.
        shards: folder of the manifest.
        folder: of the pre-training stage.
        total: optimizer steps planned.
    Raises:
        UserError: there is no log.
    """
    if not (folder / consumption.NAME).exists():
        raise UserError(
            f"{folder}: holds no {consumption.NAME}: not the folder of a pre-training, or nothing was trained"
        )
    log = consumption.read(folder)
    last = max(log.sums, default=0)
    per_epoch, batch = order.batches_per_epoch, order.global_batch_size
    wrong: list[int] = []
    epochs = []
    for epoch in range(-(-total // per_epoch)):
        steps = range(epoch * per_epoch + 1, min((epoch + 1) * per_epoch, total) + 1)
        taken = [step for step in steps if step in log.sums]
        epochs.append(
            EpochCount(
                epoch=epoch,
                planned=len(steps) * batch,
                consumed=sum(len(log.sums[step]) for step in taken) * batch,
                repeated=sum(len(log.sums[step]) - 1 for step in taken) * batch,
                skipped=sum(step <= last and step not in log.sums for step in steps) * batch,
                replaced=sum(log.replaced[step] for step in taken),
            )
        )
    with sample_ids(shards, manifest) as ids:
        for step, planned in planned_sums(order, ids, last):
            wrong += [step] if any(value != planned for value in log.sums.get(step, [])) else []
    return Audit(
        epochs=tuple(epochs),
        dropped_per_epoch=order.num_rows - per_epoch * batch,
        steps=len(log.sums),
        total=total,
        ingest_quarantined=manifest.num_quarantined,
        wrong_steps=tuple(wrong),
        restarts=tuple(step for step in log.restarts if step < total),  # a finished one that was opened took no step
        taken_again=log.taken_again,
        quarantined=quarantine.read(folder),
    )


def planned_sums(order: Order, sample_id: Ints, steps: int) -> Iterator[tuple[int, int]]:
    """(step, sum of its planned batch) of steps 1 to `steps`; holds one span of the order at a time."""
    begins = np.cumsum(order.sizes) - order.sizes  # first row of each row group
    batches = max(1, order.shuffle_rows // order.global_batch_size)
    step = 0
    for span in order.spans(0, steps, batches):
        rows = order.rows(span.epoch, span.start * order.global_batch_size, span.stop * order.global_batch_size)
        hashed = consumption.hashes(sample_id[begins[rows.group] + rows.row]).reshape(-1, order.global_batch_size)
        for value in hashed.sum(axis=1).tolist():  # wraps modulo 2^64, as it should
            step += 1
            yield step, value


@contextmanager
def sample_ids(shards: Path, manifest: Manifest) -> Iterator[Ints]:
    """[N] ids of the train split in the order of the shards, in a file mapped into memory: N may be large."""
    with TemporaryFile() as file:
        ids = np.memmap(file, np.int64, "w+", shape=(manifest.num_rows("train"),))
        filled = 0
        for shard in manifest.train:
            column = _ids_of(shards / shard.path)
            ids[filled : filled + len(column)] = column
            filled += len(column)
        yield ids


def _ids_of(path: Path) -> Ints:
    try:
        ids: Ints = column_of_samples(path, "sample_id")["sample_id"].to_numpy()
        return ids
    except FileNotFoundError:
        raise UserError(f"{path}: a shard that was trained on is gone; {parquet.again(path)}") from None
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: cannot be read ({error}); {parquet.again(path)}") from None
