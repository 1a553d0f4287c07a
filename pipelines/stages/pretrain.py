"""Pre-train the method's encoder on the shards, on Ray Train workers fed by Ray Data."""

import os
import threading
import uuid
import warnings
from pathlib import Path
from typing import Any

from pipelines import checkpoint, manifest, outbox
from pipelines.artifacts import Checkpoint, ShardSet
from pipelines.config import RunConfig, parse
from pipelines.errors import Interrupted, UserError
from pipelines.stages import engine
from pipelines.stages.base import Stage
from pipelines.worker import STOP, Worker

FAILURE = "failure.txt"


def run(config: RunConfig, shards: ShardSet, folder: Path) -> Checkpoint:
    """Train until the planned steps are done.

    Raises:
        UserError: the cluster is too small, or training cannot go on; Interrupted: Ctrl-C.
    """
    from pipelines.stages.views import training_order

    listing = manifest.load(shards.folder)
    training_order(config, listing)  # says at once when there are too few samples
    manifest.verify(shards.folder, listing)
    engine.connect(config)
    use_gpu = _fits(config)
    for leftover in (FAILURE, STOP):
        (folder / leftover).unlink(missing_ok=True)
    _fit(config, shards, folder, use_gpu)
    if (folder / FAILURE).exists():
        raise UserError((folder / FAILURE).read_text())
    path, _ = checkpoint.latest(folder / "checkpoints")
    if path is None:
        raise UserError(f"{folder}: training ended without a checkpoint; see the logs under {folder / 'ray'}")
    state = checkpoint.state_of(path)
    if state["step"] < state["total"]:
        raise Interrupted(f"stopped at step {state['step']} of {state['total']}; the checkpoint is {path}")
    return Checkpoint(digest=checkpoint.digest(path), shards=shards, folder=path, step=state["step"])


PRETRAIN = Stage(
    "pretrain",
    1,
    reads=("seed", "data", "views", "encoder", "method", "optim", "train"),
    ignores=(  # what changes speed or looks, not what is computed (to rounding)
        "views.eval",
        "data.block_mb",
        "data.cpus",
        "train.num_workers",
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


def _fits(config: RunConfig) -> bool:
    """Whether to train on GPUs; says within seconds when the cluster is too small."""
    import ray

    has = ray.cluster_resources()
    cpus, gpus, workers = int(has.get("CPU", 0)), int(has.get("GPU", 0)), config.train.num_workers
    use_gpu = config.train.device == "cuda" or (config.train.device == "auto" and gpus >= workers)
    if use_gpu and gpus < workers:
        raise UserError(f"train.num_workers: {workers} workers need {workers} GPUs, the cluster has {gpus}")
    if cpus < (needed := workers * (1 + config.data.cpus)):
        raise UserError(
            f"train.num_workers: {workers} workers and data.cpus {config.data.cpus} each need {needed} CPUs, "
            f"the cluster has {cpus}; lower them, or raise ray.num_cpus on a local Ray"
        )
    return use_gpu


def _fit(config: RunConfig, shards: ShardSet, folder: Path, use_gpu: bool) -> None:
    """Run the trainer in a thread, so that Ctrl-C stays ours: it asks the workers to stop at a checkpoint."""
    from ray.train import FailureConfig, ScalingConfig
    from ray.train import RunConfig as TrainRun
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        work,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "shards": shards.model_dump(mode="json"),
            "folder": str(folder),
        },
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.train.num_workers, use_gpu=use_gpu, resources_per_worker={"CPU": 1}
        ),
        run_config=TrainRun(  # a fresh name: our own checkpoints say where to go on, Ray's snapshot never does
            name=f"fit-{uuid.uuid4().hex[:8]}",
            storage_path=str(folder / "ray"),
            failure_config=FailureConfig(max_failures=config.train.max_failures),
        ),
    )
    failures: list[Exception] = []
    ended = threading.Event()  # not Thread.join: interrupted, it takes a thread that runs for one that has ended

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:  # handed to the main thread, which raises it
            failures.append(error)
        finally:
            ended.set()

    threading.Thread(target=fit, daemon=True).start()
    try:
        while not ended.wait(0.2):
            pass
    except KeyboardInterrupt:
        (folder / STOP).touch()
        outbox.note(folder, "Ctrl-C: saving a checkpoint, then stopping (again: stop at once)")
        while not ended.wait(0.2):
            pass
    if failures:
        raise UserError(
            f"training failed after {config.train.max_failures} restarts: {_reason(failures[0])}; "
            f"logs: {folder / 'ray'}; run the same command again to go on from the last checkpoint"
        ) from failures[0]


def work(given: dict[str, Any]) -> None:
    """What each Ray Train worker runs; all paths are absolute, since Ray changes the folder."""
    import ray.train
    import torch
    from ray.train.torch import get_device

    from pipelines.stages.views import some_rows, training_batches, training_order
    from pipelines.train_loop import chosen_precision, train
    from ssl_core.build import build_chains
    from ssl_core.catalog import find

    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    config, shards, folder = parse(given["config"]), ShardSet.model_validate(given["shards"]), Path(given["folder"])
    context = ray.train.get_context()
    worker = Worker(context.get_world_rank(), context.get_world_size(), get_device(), folder)
    torch.set_num_threads(config.train.threads or max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    engine.data_context(config.data.cpus)
    if worker.rank == 0:
        how = f"{chosen_precision(config.train.precision, worker.device)}, {torch.get_num_threads()} threads each"
        outbox.note(folder, f"workers: {worker.size} on {worker.device.type}, {how}")
    try:
        listing = manifest.load(shards.folder)
        kinds = find("ssl_core.methods", config.method.name).view_kinds
        reads_labels = find("ssl_core.methods", config.method.name).reads_labels
        labels = manifest.labels(shards.folder, listing, "train")
        if reads_labels and labels is None:
            raise UserError(f"method {config.method.name} reads labels; the source has none (source.labels)")
        monitor = None
        if worker.rank == 0 and config.train.monitor_samples:
            from pipelines.monitor import Monitor

            chains = build_chains(config.views)
            looked_at = ("eval", kinds[0], kinds[0])
            arrays = some_rows(config, shards.folder, listing, "train", config.train.monitor_samples, looked_at)
            monitor = Monitor(arrays, [chains[kind] for kind in looked_at], labels, worker.device)
        train(
            config,
            worker,
            training_order(config, listing).batches_per_epoch,
            lambda start, stop: training_batches(config, shards.folder, listing, worker.rank, worker.size, start, stop),
            monitor,
            labels if reads_labels else None,
        )
    except Interrupted:
        return  # the checkpoint says how far it came
    except UserError as error:  # the same again after a restart: end without one
        if worker.rank == 0:
            (folder / FAILURE).write_text(str(error))  # a full disk fails this too, and then Ray carries the error


def _reason(error: BaseException) -> str:
    """The last line of the innermost cause that Ray wrapped."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
