"""Pre-train the method's encoder on the shards, on Ray Train workers fed by Ray Data."""

import uuid
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config.run import RunConfig
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.data.shards.verification import verify
from pipelines.errors import Interrupted, UserError
from pipelines.runtime import capacity, session
from pipelines.runtime.background import BackgroundCall
from pipelines.runtime.notices import Notices
from pipelines.runtime.placement import placement_line
from pipelines.runtime.stalls import Stalls
from pipelines.runtime.waiting import PlacementWatch
from pipelines.stage import Stage
from pipelines.storage import checkpoint, outbox
from pipelines.storage.retry import noted_in, patiently
from pipelines.storage.signals import FAILURE, SAVE, STOP
from pipelines.tracking.display import say
from pipelines.train.artifact import Checkpoint
from pipelines.train.audit import audit
from pipelines.train.warm_start import WarmStart

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

    from pipelines.data.batches.order import Order
    from pipelines.train.ray_worker import TrainHere

RESIZE_S = 20
"""Between two looks for room for more workers; Ray's view of what is there is that old anyway."""


def run(config: RunConfig, shards: ShardSet, folder: Path, begin: WarmStart | None = None) -> Checkpoint:
    """Train until the planned steps are done.

    Args:
        begin: where fine-tuning starts; None: from drawn weights.
    Raises:
        UserError: the cluster is too small, or training cannot go on; Interrupted: Ctrl-C.
    """
    from pipelines.data.batches.stream import training_order

    listing = manifest.load(shards.folder)
    order = training_order(config, listing)  # says at once when there are too few samples
    if not _is_done(config, order, folder):  # e.g. by a campaign's trial; Ray Train takes 10 s for no step
        session.connect(config)
        use_gpu = fits(config)  # first: it waits for nodes, and asks those that come what the others were asked
        verify(shards.folder, listing)
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in (FAILURE, STOP, SAVE):
            (folder / leftover).unlink(missing_ok=True)
        outbox.note(folder, placement_line(config, capacity.members(), use_gpu))
        _fit(config, shards, folder, use_gpu, begin)
    if (folder / FAILURE).exists():
        raise UserError((folder / FAILURE).read_text())
    path, _ = patiently(lambda: checkpoint.latest(folder / "checkpoints"), noted_in(folder))
    if path is None:
        raise UserError(f"{folder}: training ended without a checkpoint; see the logs under {folder / 'ray'}")
    state = checkpoint.state_of(path)
    if state["step"] < state["total"]:
        raise Interrupted(f"stopped at step {state['step']} of {state['total']}; the checkpoint is {path}")
    found = audit(order, shards.folder, listing, folder, state["total"])
    found.write(folder / "report")
    outbox.append(folder, step=state["step"], total=state["total"], metrics=found.metrics(), final=True)
    if not (found.is_exact and found.is_complete):
        raise UserError(f"{folder}: {found.verdict()}; this checkpoint is not used; please report it with {folder}")
    return Checkpoint(digest=checkpoint.digest(path), shards=shards, folder=path, step=state["step"])


PRETRAIN = Stage(
    "pretrain",
    1,
    reads=("seed", "data", "views", "encoder", "method", "optim", "train"),
    ignores=(  # what changes speed or looks, not what is computed (to rounding)
        "views.eval",
        "data.block_mb",
        "data.cpus",
        "data.slow_read_seconds",
        "train.num_workers",
        "train.min_workers",
        "train.parallel",
        "train.device",
        "train.threads",
        "train.log_every",
        "train.checkpoint_seconds",
        "train.monitor_every",
        "train.monitor_samples",
        "train.max_failures",
    ),
    makes=Checkpoint,
    run=run,
)


def _is_done(config: RunConfig, order: "Order", folder: Path) -> bool:
    """Whether the newest checkpoint is that of the last step, in this order of samples."""
    path, _ = patiently(lambda: checkpoint.latest(folder / "checkpoints"), noted_in(folder))
    if path is None:
        return False
    state, total = checkpoint.state_of(path), config.train.num_steps(order.batches_per_epoch)
    return bool(state["step"] == state["total"] == total and state["order"] == order.identity)


def fits(config: RunConfig) -> bool:
    """Whether to train on GPUs; says when the cluster is too small: at once, or after `ray.wait_seconds`."""
    workers, own = config.train.fewest_workers, config.ray.worker_resource
    needed = of_workers(config, config.train.device == "cuda")
    needed["CPU"] += workers * config.data.cpus
    has = capacity.wait_for(config, needed)
    cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    use_gpu = on_gpus(config, gpus)
    if use_gpu and gpus < workers:
        raise UserError(f"train.num_workers: {workers} workers need {workers} GPUs, the cluster has {gpus}")
    if cpus < needed["CPU"]:
        raise UserError(
            f"train.num_workers: {workers} workers and data.cpus {config.data.cpus} each need {needed['CPU']} CPUs, "
            f"the cluster has {cpus}; lower them, or raise ray.num_cpus on a local Ray"
        )
    if own and has.get(own, 0) < workers:
        raise UserError(
            f"ray.worker_resource: {workers} workers need {workers} of '{own}', the cluster has {has.get(own, 0):g}; "
            "start the nodes that are to train with it"
        )
    if config.train.device == "auto" and not use_gpu and config.ray.address != "local":
        there = f"{gpus} GPUs" if gpus else "no GPU"
        say(f"ray: {there} there now: training on CPUs; train.device=cuda waits for them")
    return use_gpu


def of_workers(config: RunConfig, use_gpu: bool) -> dict[str, int]:
    """Resources that the fewest workers take together, without their readers'."""
    workers, own = config.train.fewest_workers, config.ray.worker_resource
    return {"CPU": workers, **({"GPU": workers} if use_gpu else {}), **({own: workers} if own else {})}


def on_gpus(config: RunConfig, gpus: int) -> bool:
    """Whether training takes GPUs, on a cluster that has so many."""
    return config.train.device == "cuda" or (config.train.device == "auto" and gpus >= config.train.fewest_workers)


def _fit(config: RunConfig, shards: ShardSet, folder: Path, use_gpu: bool, begin: WarmStart | None) -> None:
    """Run the trainer in a thread, so that Ctrl-C stays ours: it asks the workers to stop at a checkpoint."""
    training = BackgroundCall(lambda: fit(config, shards, folder, use_gpu, begin=begin))
    notices, room, stalls = Notices(config.ray), PlacementWatch(of_workers(config, use_gpu)), Stalls(folder)
    try:
        while not training.ended(0.2):
            notices.poll([folder])
            room.poll(partial(outbox.note_if_possible, folder))
            with suppress(OSError):
                stalls.poll(partial(outbox.note_if_possible, folder))
    except KeyboardInterrupt:
        (folder / STOP).touch()
        outbox.note(folder, "Ctrl-C: saving a checkpoint, then stopping (again: stop at once)")
        while not training.ended(0.2):
            pass
    if training.failure:
        raise UserError(
            f"training failed after {config.train.max_failures} restarts: {reason(training.failure)}; "
            f"{checkpoint.last_good(folder / 'checkpoints')}; run the same command again to go on; "
            f"logs: {folder / 'ray'}"
        ) from training.failure


def fit(
    config: RunConfig,
    shards: ShardSet,
    folder: Path,
    use_gpu: bool,
    begin: WarmStart | None = None,
    train: "TrainHere | None" = None,
) -> None:
    """Ray Train restarts workers that die; its controller it does not, so that is done here.

    Args:
        begin: where fine-tuning starts.
        train: what each worker runs in place of the plain loop; pickled by Ray.
    """
    from ray.exceptions import RayActorError

    before = session.reservations()
    for left in reversed(range(config.train.max_failures + 1)):
        try:
            _trainer(config, shards, folder, use_gpu, begin, train).fit()
            return
        except RayActorError:
            if not left or (folder / STOP).exists():
                raise
            session.release(session.reservations() - before)  # else readers find no CPU, and the run hangs
            outbox.note(folder, f"the training controller died; {checkpoint.goes_on(folder / 'checkpoints')}")


def _trainer(
    config: RunConfig,
    shards: ShardSet,
    folder: Path,
    use_gpu: bool,
    begin: WarmStart | None,
    train: "TrainHere | None",
) -> "TorchTrainer":
    from ray.train import FailureConfig, ScalingConfig
    from ray.train import RunConfig as TrainRun
    from ray.train.torch import TorchConfig, TorchTrainer

    from pipelines.runtime.deaths import Deaths
    from pipelines.train.ray_worker import work

    fewest, most, own = config.train.fewest_workers, config.train.num_workers, config.ray.worker_resource
    return TorchTrainer(
        partial(work, train=train) if train else work,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "shards": shards.model_dump(mode="json"),
            "folder": str(folder),
            "begin": None if begin is None else asdict(begin),
        },
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=most if fewest == most else (fewest, most),
            elastic_resize_monitor_interval_s=RESIZE_S,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": 1, **({own: 1} if own else {})},
        ),
        run_config=TrainRun(  # a fresh name: our own checkpoints say where to go on, Ray's snapshot never does
            name=f"fit-{uuid.uuid4().hex[:8]}",
            storage_path=str(folder / "ray"),
            failure_config=FailureConfig(max_failures=config.train.max_failures),
            callbacks=[Deaths(folder)],
        ),
    )


def reason(error: BaseException) -> str:
    """The last line of the innermost cause that Ray wrapped."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
