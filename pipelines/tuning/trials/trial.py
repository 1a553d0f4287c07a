"""One trial: the pre-training of its config, in the folder where `selfray run` of that config would put it.

With one worker the loop runs in Tune's own actor, which costs no further process; with more, Ray Train runs it
(pipelines/train/pretrain.py). Either way a look comes with a checkpoint, is reported to the driver, and
the trial goes on once the driver has written into its record what became of it. So a trial always stops at a
checkpoint of its own accord, and nobody kills a training that holds placement groups.
"""

import os
import time
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import pipelines.runtime  # noqa: F401  Ray reads its settings when it is imported

# isort: split
import ray.tune
import torch

from pipelines.config.run import RunConfig
from pipelines.data.batches.stream import some_rows
from pipelines.data.shards import manifest
from pipelines.errors import Diverged, Interrupted, UserError
from pipelines.runtime import capacity
from pipelines.runtime.background import BackgroundCall
from pipelines.storage import checkpoint, lock, outbox
from pipelines.storage.signals import DIVERGED, FAILURE, STOP
from pipelines.train import pretrain
from pipelines.train.ray_worker import is_looking, train_here
from pipelines.train.worker import Worker
from pipelines.tuning import plan, records
from pipelines.tuning.plan import Plan
from pipelines.tuning.records import Look, Trial
from pipelines.tuning.trials.objective import NUM_VIEWS, Objective
from pipelines.tuning.trials.worker import Ended, TrialWorker, looks
from ssl_core.build import build_chain, build_method, untrained
from ssl_core.catalog import find

PATIENCE_S = 120
"""For the process of a killed campaign to end: one whose head has died looks for it for a minute first."""


def run(given: dict[str, Any]) -> None:
    """What Tune calls; `given` names the trial's folder of records."""
    record = Path(given["record"])
    trial, shared = records.read(record), plan.load(record.parents[1])
    try:
        trial.work.mkdir(parents=True, exist_ok=True)
        with lock.alone(trial.work / ".lock", PATIENCE_S):
            _run(trial, shared, record)
    except (Interrupted, Ended):
        return  # the record and the checkpoint say how far it came
    except Exception as error:  # handed to the driver, which writes the reason down; the other trials go on
        cause = getattr(error, "cause", error)  # from a read task it comes wrapped by Ray
        kind = "" if isinstance(cause, UserError) else f"{type(cause).__name__}: "
        reason = kind + " ".join(str(cause).split())[:2000]
        ray.tune.report({"failed": reason, "curable": not isinstance(cause, Diverged)})


def objective(config: RunConfig, shared: Plan, device: torch.device, spent: float = 0.0) -> Objective:
    """The eyes of the looks; reads its samples from the shards, in this process."""
    began, listing, tune = time.monotonic(), manifest.load(shared.shards.folder), shared.tune
    kind = find("ssl_core.methods", config.method.name).kinds(config.method)[0]
    seen = config.model_copy(update={"views": looked_at(config, shared)})

    def read(count: int, kinds: tuple[str, ...]) -> Any:
        return some_rows(seen, shared.shards.folder, listing, "train", count, kinds)

    plain, augmented = read(tune.samples, ("eval",)), read(tune.view_samples, (kind,) * NUM_VIEWS)
    return Objective(
        plain,
        augmented,
        (build_chain(seen.views["eval"]), build_chain(seen.views[kind])),
        manifest.labels(shared.shards.folder, listing, "train"),
        tune.holdout,
        device,
        seed=seen.seed,
        prefix=shared.prefix,
        spent=spent,
        reading=time.monotonic() - began,
    )


def looked_at(config: RunConfig, shared: Plan) -> dict[str, Any]:
    """The views in which a trial is looked at: the recipe's own, or a trial with weak augmentation would look best.

    Only where these have another shape than what the trial's encoder reads are they the trial's.
    """
    own = shared.config({}).views
    read = ("eval", find("ssl_core.methods", config.method.name).kinds(config.method)[0])
    both = ((config.views[kind], own[kind]) for kind in read if kind in own)
    alike = all(build_chain(mine).view_shape == build_chain(other).view_shape for mine, other in both)
    return {**config.views, **own} if alike else dict(config.views)


def floors(config: RunConfig, shared: Plan) -> dict[str, dict[str, float]]:
    """The metrics of the raw input and of the encoder as it is drawn, on the same samples as every trial's."""
    eye = objective(config, shared, torch.device("cpu"))
    method = build_method(config.method, untrained(config.encoder), config.views, seed=config.seed)
    found = {"raw_input": eye.of_pixels(), "random_init": eye.of_encoder(method.eval())}
    return {name: {k: v for k, v in values.items() if isfinite(v)} for name, values in found.items()}


def train_trial(config: RunConfig, worker: TrialWorker) -> None:
    """One worker's part of a trial."""
    known = worker.known()
    if worker.rank == 0:
        for look in known:  # of an earlier process: the driver may not have heard of them
            worker.ask(look.step)
    shared, spent = worker.plan, known[-1].seconds if known else 0.0
    eye = objective(config, shared, worker.device, spent) if is_looking(config, worker) else None
    milestones = plan.milestones(worker.total, shared.tune.looks)
    train_here(config, shared.shards, worker, eye, milestones)
    if eye and worker.rank == 0 and all(look.step < worker.total for look in worker.looks()):
        _look_at_the_end(config, worker, eye)


def _run(trial: Trial, shared: Plan, record: Path) -> None:
    config = shared.config(trial.changes)
    pretrain.PRETRAIN.inputs(config, shared.shards).keep(trial.work)
    for leftover in (FAILURE, DIVERGED, STOP):
        (trial.work / leftover).unlink(missing_ok=True)
    if (record.parents[1] / STOP).exists():
        raise Interrupted("the campaign was stopped before this trial began")
    if config.train.num_workers > 1:
        _on_ray_train(config, shared, trial, record)
        return
    device = torch.device("cuda" if config.train.device != "cpu" and torch.cuda.is_available() else "cpu")
    torch.set_num_threads(config.train.threads or threads_here(config, shared.at_a_time))
    worker = TrialWorker(0, 1, device, trial.work, record, trial.total, shared, tell)
    train_trial(config, worker)


def threads_here(config: RunConfig, at_a_time: int | None) -> int:
    """CPU threads of a trial of one worker, on the node that it runs on: its share of the node's CPUs.

    Args:
        at_a_time: trials that the whole cluster runs at a time; None: not known, so one thread.
    """
    if at_a_time is None:
        return 1
    fit = int(capacity.here().get("CPU", 0)) // (1 + config.data.cpus)
    return max(1, (os.cpu_count() or 1) // max(1, min(at_a_time, fit)))


def tell(look: Look) -> None:
    """Report to the driver; comes back when it has dealt with it."""
    ray.tune.report({"look": look.model_dump_json()})  # as text: Tune flattens what is nested


def _on_ray_train(config: RunConfig, shared: Plan, trial: Trial, record: Path) -> None:
    """Several workers: Ray Train runs them, this process passes their looks on."""
    use_gpu = pretrain.fits(config)
    train = partial(_train_part, record=record)
    training = BackgroundCall(lambda: pretrain.fit(config, shared.shards, trial.work, use_gpu, train=train))
    over = False
    while not over:
        over = training.ended(0.2)
        for look in looks(trial.work, shared, trial.total, saved=True):
            if records.read(record).look_at(look.step) is None:
                tell(look)
    if (trial.work / FAILURE).exists():
        kind = Diverged if (trial.work / DIVERGED).exists() else UserError
        raise kind((trial.work / FAILURE).read_text())
    if training.failure:
        raise training.failure


def _train_part(config: RunConfig, worker: Worker, record: Path) -> None:
    """One of several workers of Ray Train; the process that Tune runs passes its looks on to the driver."""
    trial, shared = records.read(record), plan.load(record.parents[1])
    train_trial(
        config, TrialWorker(worker.rank, worker.size, worker.device, worker.folder, record, trial.total, shared)
    )


def _look_at_the_end(config: RunConfig, worker: TrialWorker, eye: Objective) -> None:
    """For a training that `selfray run` has done before, which does not look."""
    path, _ = checkpoint.latest(worker.checkpoints)
    if path is None:
        raise UserError(f"{worker.checkpoints}: training ended without a checkpoint")
    method = build_method(config.method, config.encoder, config.views, device=worker.device)
    method.load_state_dict(checkpoint.weights(path))
    outbox.append(worker.folder, step=worker.total, total=worker.total, metrics=eye(method), final=True)
    worker.ask(worker.total)
