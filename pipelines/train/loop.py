"""The training loop, free of Ray: batches in, points and checkpoints out.

Everything it does at step t is a function of the config, the weights and t, so it can be killed
anywhere: the next process restores a checkpoint and takes the same steps again.

Shapes: B samples of this worker per step.
"""

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipelines.config.run import RunConfig
from pipelines.config.sections import TrainConfig
from pipelines.data.batches.order import Order
from pipelines.data.batches.reading import Arrays
from pipelines.errors import Interrupted, UserError
from pipelines.train.interval import Interval
from pipelines.train.precision import is_fast_in_bf16
from pipelines.train.warm_start import WarmStart
from pipelines.train.worker import Worker
from ssl_core.augment.base import Augmentation
from ssl_core.build import build_chains, build_method
from ssl_core.encoders.base import Encoder, PatchEncoder
from ssl_core.methods.base import Method
from ssl_core.noise import view_salt
from ssl_core.optimize.collectives import from_first
from ssl_core.optimize.optimizers import build_optimizer, clip_gradients_, peak_lr, set_lr_, set_weight_decay_
from ssl_core.optimize.schedules import cosine, warmup_cosine
from ssl_core.optimize.sharding import shard_, stem_gathered
from ssl_core.types import Batch, LossOutput, Progress, Target

OpenBatches = Callable[[int, int], Iterator[Arrays]]
"""(start, stop) -> this worker's share of the global batches start..stop."""
Monitor = Callable[[Method], dict[str, float]]


def train(
    config: RunConfig,
    worker: Worker,
    order: Order,
    open_batches: OpenBatches,
    monitor: Monitor | None = None,
    labels: Mapping[int, int] | None = None,
    milestones: Container[int] = (),
    begin: WarmStart | None = None,
) -> int:
    """Run the steps that are left; returns the steps taken.

    Args:
        order: what `open_batches` follows.
        monitor: looks at the representation now and then: given to rank 0 only, or to all workers where
            `worker.holds_shares`, since none of them could encode alone.
        labels: sample id -> class number, for a method that reads labels.
        milestones: steps at which the monitor looks and a checkpoint is saved, instead of every `monitor_every`.
        begin: weights to start from and how the learning rate falls with depth, for fine-tuning.
    Raises:
        UserError: the loss is not finite (names step, sample ids and the last good checkpoint), too many samples
            stopped decoding, or the checkpoint in the folder belongs to another order.
        Interrupted: asked to stop; a checkpoint of this very step is kept.
    """
    settings = config.train
    sharded = worker.holds_shares(settings)
    place = "cpu" if sharded else worker.device  # where sharded it need not fit on the device
    method = build_method(config.method, config.encoder, config.views, device=place, seed=config.seed)
    if begin:
        begin.load_(method)
    if sharded:  # rows of a weight in channels_last would not be contiguous
        shard_(method, worker.device, bf16=_halves_messages(settings, worker.device))
    else:
        method.to(memory_format=method.encoder.memory_format)
    scales = begin.lr_scales(method) if begin else None
    optimizer = build_optimizer(config.optim, method, peak_lr(config.optim, settings.global_batch_size), scales)
    chains = build_chains(config.views)
    kinds = [chains[kind] for kind in type(method).kinds(config.method)]
    total = settings.num_steps(order.batches_per_epoch)
    start = worker.restore(method, optimizer, order)
    if settings.compile:
        compile_(method)
    net: nn.Module = method
    if worker.size > 1 and not sharded:
        # buffers need no broadcast: BatchNorm and queues see the batch of all workers
        net = DistributedDataParallel(method, broadcast_buffers=False, gradient_as_bucket_view=True)
    monitor_every = settings.monitor_every or max(settings.log_every, total // 20)
    batches = open_batches(start, total)
    method.train()
    saved, recent, num_replaced = time.monotonic(), Interval(worker), 0
    for step in range(start, total):
        waiting = time.perf_counter()
        arrays = next(batches)
        recent.took(arrays, time.perf_counter() - waiting)
        salts = [view_salt(config.seed, step // order.batches_per_epoch, view) for view in range(len(kinds))]
        batch = to_batch(arrays, kinds, salts, worker.device, labels)
        progress = Progress(step, total, config.seed)
        lr = _lr(config, progress)
        set_lr_(optimizer, lr)
        if (end := config.optim.end_weight_decay) is not None:
            set_weight_decay_(optimizer, cosine(config.optim.weight_decay, end, progress.fraction))
        _step(net, method, batch, progress, optimizer, config, recent)
        method.after_step(Progress(step + 1, total, config.seed))
        done, last = step + 1, step + 1 == total
        look = last or (done in milestones if milestones else done % monitor_every == 0)
        if not (look or done % settings.log_every == 0):
            continue
        point, stop = recent.point(done, settings.global_batch_size)
        point |= {"lr": lr, "epoch": done / order.batches_per_epoch}
        if replaced := recent.log_consumed(done):
            point["replaced"] = replaced
            num_replaced += replaced
            _within_budget(num_replaced, done - start, order, config.ingest.max_bad_fraction)
        if monitor and look:
            with stem_gathered(method), _eagerly() if settings.compile else nullcontext():
                point |= monitor(method)
        worker.report(done, total, point)
        recent = Interval(worker)
        due = time.monotonic() - saved > settings.checkpoint_seconds or worker.asked_to_save()
        due = bool(from_first(due, worker.device))  # sharded, each worker has a part in it
        if last or stop or done in milestones or due:
            precision = chosen_precision(settings.precision, worker.device)
            facts = {"total": total, "order": order.identity, "precision": precision, "exports": method.exports}
            worker.save(done, method, optimizer, facts)
            saved = time.monotonic()
        if stop and not last:
            raise Interrupted(f"stopped at step {done} of {total}")
    return total


def to_batch(
    arrays: Arrays,
    chains: Sequence[Augmentation],
    salts: Sequence[int],
    device: torch.device,
    labels: Mapping[int, int] | None,
) -> Batch:
    """Bytes from the shards to what a method reads, finished on the training device."""
    ids, keys = arrays["sample_id"], arrays["planned_id"]
    there = partial(_sent, device=device)
    views = tuple(
        chain.finish(there(torch.from_numpy(arrays[f"view{i}"])), keys, key)
        for i, (chain, key) in enumerate(zip(chains, salts, strict=True))
    )
    lengths = (arrays.get(f"view{i}.length") for i in range(len(views)))
    valid = tuple(
        None if length is None else there(torch.from_numpy(np.arange(view.shape[-1]) < length[:, None]))
        for view, length in zip(views, lengths, strict=True)
    )
    target = None if labels is None else Target(there(torch.tensor([labels[i] for i in ids.tolist()])))
    return Batch(views, there(torch.from_numpy(np.array(ids))), valid, target)


def _sent(x: Tensor, device: torch.device) -> Tensor:
    """From pageable memory a copy to a GPU would wait for the step before."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def chosen_precision(precision: str, device: torch.device) -> str:
    """What `auto` means to a process alone; workers agree on it, see pipelines/train/precision.py."""
    if precision != "auto":
        return precision
    return "bf16" if is_fast_in_bf16(device) else "fp32"


def autocast(precision: str, device: torch.device) -> Any:
    bf16 = chosen_precision(precision, device) == "bf16"
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def compile_(method: Method) -> None:
    """The encoders, teachers among them; the method itself draws by step, and would be compiled anew at each."""
    for encoder in (module for module in method.modules() if isinstance(module, Encoder)):
        encoder.compile(dynamic=False)  # batches of one size, whatever else this process has compiled
        if isinstance(encoder, PatchEncoder):  # masked methods call this part of it
            encoder.encode = torch.compile(encoder.encode, dynamic=False)  # type: ignore[method-assign]


def _eagerly() -> AbstractContextManager[Any]:
    """Inside nothing is compiled: looks are in eval mode and another size of batch, each a minute's work for once."""
    return torch.compiler.set_stance("force_eager")


def _halves_messages(settings: TrainConfig, device: torch.device) -> bool:
    """Between CPUs weights travel as they are: float32 is what their runs are compared by."""
    return device.type == "cuda" and chosen_precision(settings.precision, device) == "bf16"


def _lr(config: RunConfig, progress: Progress) -> float:
    peak = peak_lr(config.optim, config.train.global_batch_size)
    warmup = round(config.optim.warmup_fraction * progress.total)
    return warmup_cosine(peak, peak * config.optim.end_lr_fraction, progress.step, progress.total, warmup)


def _step(
    net: nn.Module,
    method: Method,
    batch: Batch,
    progress: Progress,
    optimizer: torch.optim.Optimizer,
    config: RunConfig,
    recent: Interval,
) -> None:
    """One optimizer step over `train.accumulate` micro-batches."""
    parts = _split(batch, config.train.accumulate)
    loss = torch.zeros((), device=batch.sample_id.device)
    metrics: dict[str, Tensor] = {}
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        hold = net.no_sync() if isinstance(net, DistributedDataParallel) and not last else nullcontext()
        with hold:
            with autocast(config.train.precision, batch.sample_id.device):
                out: LossOutput = net(part, progress)
            (out.loss / len(parts)).backward()
        loss += out.loss.detach() / len(parts)
        for name, value in out.metrics.items():
            metrics[name] = metrics.get(name, 0) + value.detach().float() / len(parts)
    method.before_step(progress)
    clip_gradients_(method, config.optim)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    recent.add(LossOutput(loss, metrics), batch.sample_id)


def _split(batch: Batch, parts: int) -> list[Batch]:
    if parts == 1:
        return [batch]

    def of(tensor: Tensor | None, index: int) -> Tensor | None:
        return None if tensor is None else tensor.chunk(parts)[index]

    return [
        replace(
            batch,
            views=tuple(view.chunk(parts)[index] for view in batch.views),
            sample_id=batch.sample_id.chunk(parts)[index],
            valid=tuple(of(valid, index) for valid in batch.valid),
            target=_part_of(batch.target, parts, index),
        )
        for index in range(parts)
    ]


def _part_of(target: Target | None, parts: int, index: int) -> Target | None:
    if target is None:
        return None
    valid = None if target.valid is None else target.valid.chunk(parts)[index]
    return Target(target.value.chunk(parts)[index], valid)


def _within_budget(num_replaced: int, steps: int, order: Order, fraction: float) -> None:
    """As at ingest: damage to a share of the data is survived, not to more (invariant 6)."""
    rows = max(steps * order.global_batch_size, order.num_rows)
    if num_replaced > fraction * rows:
        raise UserError(
            f"{num_replaced} of {rows} samples no longer decode, more than ingest.max_bad_fraction {fraction:g} "
            "allows; the shards were damaged after ingest: see quarantine/ in this stage's folder, then delete the "
            "shards and run again"
        )
