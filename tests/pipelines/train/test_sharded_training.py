"""train.parallel fsdp: the steps of ddp from a share of the memory, and checkpoints that anybody can go on from."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipelines.config.parse import parse
from pipelines.errors import Interrupted, UserError
from pipelines.storage import checkpoint, outbox
from pipelines.storage.signals import SAVE, STOP
from pipelines.train.worker import Worker
from ssl_core.build import build_method
from ssl_core.methods.base import Method
from ssl_core.optimize.optimizers import build_optimizer, optimizer_tensors
from ssl_core.optimize.sharding import check_shardable, shard_, whole
from ssl_core.types import Batch, Progress
from tests.support.loop import EXACT, losses, order_of, run, weights
from tests.support.recipe import TREE
from tests.support.tiny import tiny_batch, tiny_method
from tests.support.workers import on_workers

VIT = {"name": "vit", "dim": 16, "depth": 2, "heads": 2, "patch_size": 4, "class_token": True}
MOCO = {"name": "moco", "hidden_dim": 18, "projection_dim": 7, "queue_size": 40, "momentum": 0.9}  # 7: uneven shares
MAE = {"name": "mae", "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
KINDS: dict[str, dict[str, object]] = {
    "adamw, clipped": {"encoder": VIT, "method": MOCO, "optim.grad_clip": 0.05},
    "lars": {"encoder": VIT, "method": MOCO, "optim.name": "lars", "optim.lr": 1.0},
    "sgd, BatchNorm in blocks": {"encoder": {"name": "resnet", "width": 4}, "optim.name": "sgd"},
    "accumulated": {"encoder": VIT, "method": MAE, "views.global": {"name": "image_crop", "size": 8}}
    | {"train.accumulate": 4},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_curve_and_the_same_encoder_as_ddp(tmp_path, kind):
    looks = {"train.monitor_every": 4, "optim.lr": 0.01}
    for parallel in ("ddp", "fsdp"):
        on_workers(2, _run, str(tmp_path / parallel), 2, looks | KINDS[kind] | {"train.parallel": parallel})
    for metric in ("loss", "seen"):
        mine, theirs = (_points(tmp_path / parallel, metric) for parallel in ("fsdp", "ddp"))
        assert mine.keys() == theirs.keys() and len(mine) >= 3
        np.testing.assert_allclose(list(mine.values()), list(theirs.values()), rtol=1e-4)
    (encoder, slots), (wanted, wanted_slots) = (_held(tmp_path / parallel) for parallel in ("fsdp", "ddp"))
    mine, theirs = (_determined(state) for state in (encoder, wanted))
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)  # equal names, shapes and types, too
    assert {k: v.shape for k, v in slots.items()} == {k: v.shape for k, v in wanted_slots.items()}


def _points(folder: Path, metric: str) -> dict[int, float]:
    return {point.step: point.metrics[metric] for point in outbox.read(folder) if metric in point.metrics}


def _determined(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the biases of keys: softmax takes no notice of them, so their gradient is rounding, blown up by Adam."""
    kept = {name: value.clone() for name, value in state.items()}
    for name, value in kept.items():
        if name.endswith("qkv.bias"):
            value.unflatten(0, (3, -1))[1] = 0
    return kept


def _held(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    path, _ = checkpoint.latest(folder / "checkpoints")
    assert path is not None
    return checkpoint.encoder_weights(path), load_file(path / checkpoint.OPTIMIZER)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, EXACT | KINDS["adamw, clipped"])
    return folder


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 4)])
def test_another_number_of_workers_goes_on_in_the_middle(tmp_path, undisturbed, before, after):
    changes = KINDS["adamw, clipped"] | {"train.parallel": "fsdp"}
    (tmp_path / STOP).touch()
    assert on_workers(before, _run, str(tmp_path), before, changes) == ["stopped"] * before
    (tmp_path / STOP).unlink()
    assert on_workers(after, _run, str(tmp_path), after, changes) == ["done"] * after
    np.testing.assert_allclose([x for _, x in losses(tmp_path)], [x for _, x in losses(undisturbed)], rtol=1e-4)
    mine, theirs = (_determined(weights(folder)) for folder in (tmp_path, undisturbed))
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_that_only_rank_0_knows_is_due_is_saved_by_all(tmp_path):
    (tmp_path / SAVE).touch()
    changes = {"encoder": VIT, "train.parallel": "fsdp", "train.checkpoint_seconds": 1e6}
    assert on_workers(2, _run, str(tmp_path), 2, changes) == ["done"] * 2
    assert sorted(path.name[-2:] for path in (tmp_path / "checkpoints").iterdir()) == ["02", "12"]


def _run(rank: int, folder: str, size: int, changes: dict[str, object]) -> str:
    def monitor(method: Method) -> dict[str, float]:
        method.eval()
        with torch.no_grad():
            found = {"seen": method.encoder(torch.linspace(-1, 1, 384).view(2, 3, 8, 8)).pooled.std().item()}
        method.train()
        return found

    looking = monitor if rank == 0 or changes["train.parallel"] == "fsdp" else None
    try:
        run(Path(folder), EXACT | changes | {"train.num_workers": size}, rank, size, looking)
    except Interrupted:
        return "stopped"
    return "done"


def test_a_worker_holds_its_share_of_weights_gradients_and_optimizer_state():
    alone = sum(_bytes(0, 1))
    for parts in on_workers(2, _bytes, 2):
        assert sum(parts) < 0.52 * alone
        weight, grad, slots = parts
        assert grad == pytest.approx(weight, rel=0.02) and slots == pytest.approx(2 * weight, rel=0.02), "two slots"


def _bytes(rank: int, world: int) -> tuple[int, int, int]:
    config = parse(TREE, {"encoder": VIT | {"dim": 64}, "method": {"name": "simclr", "hidden_dim": 64}})
    method = build_method(config.method, config.encoder, config.views)
    if world > 1:
        shard_(method, torch.device("cpu"), bf16=False)
    optimizer = build_optimizer(config.optim, method, 0.1)
    method(tiny_batch(method), Progress(0, 10)).loss.backward()
    optimizer.step()
    parameters = list(method.parameters())
    slots = optimizer_tensors(optimizer, method).values()
    return _here(parameters), _here(p.grad for p in parameters), _here(slots)


def _here(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes that this process keeps for them; several may lie in one storage."""
    kept = [getattr(t, "to_local", lambda t=t: t)().untyped_storage() for t in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in kept}.values())


def test_gathering_in_bfloat16_is_close_to_autocast():
    method = tiny_method("mae", "vit")
    batch = tiny_batch(method)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = method(batch, Progress(0, 10)).loss
    wanted.backward()
    wanted_grads = {name: p.grad for name, p in method.named_parameters()}
    for loss, grads in on_workers(2, _in_bf16, batch):
        torch.testing.assert_close(loss, wanted.detach(), rtol=5e-3, atol=0)
        assert grads.keys() == wanted_grads.keys()
        for name, grad in grads.items():
            assert (grad - wanted_grads[name]).norm() < 0.1 * wanted_grads[name].norm(), name


def _in_bf16(rank: int, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    method = tiny_method("mae", "vit")  # the same weights
    gathered: list[torch.dtype] = []
    block = method.encoder.blocks[0]
    block.attn.register_forward_pre_hook(lambda layer, _: gathered.append(layer.qkv.weight.dtype))
    shard_(method, torch.device("cpu"), bf16=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method(batch, Progress(0, 10)).loss
    loss.backward()
    assert gathered == [torch.bfloat16]
    assert {p.dtype for p in method.parameters()} == {p.grad.dtype for p in method.parameters()} == {torch.float32}
    return loss.detach(), {name: whole(p.grad) for name, p in method.named_parameters()}


def test_a_checkpoint_is_the_same_whoever_wrote_it(tmp_path):
    """Bit for bit: gathered from shares and shared out again, to another number of workers."""
    config = parse(TREE, {"encoder": VIT, "method": MOCO})
    method = build_method(config.method, config.encoder, config.views, seed=3)
    optimizer = build_optimizer(config.optim, method, 0.1)
    method(tiny_batch(method), Progress(0, 10)).loss.backward()
    optimizer.step()
    path = checkpoint.save(tmp_path / "given", 1, method, optimizer, {"order": order_of(config).identity})
    on_workers(4, _save_again, str(tmp_path))
    again = tmp_path / "checkpoints" / path.name
    for name in (checkpoint.METHOD, checkpoint.OPTIMIZER):
        assert (again / name).read_bytes() == (path / name).read_bytes()


def _save_again(rank: int, folder: str) -> None:
    config, worker = parse(TREE, {"encoder": VIT, "method": MOCO}), Worker(rank, 4, torch.device("cpu"), Path(folder))
    method = build_method(config.method, config.encoder, config.views, seed=9)
    shard_(method, worker.device, bf16=False)
    optimizer = build_optimizer(config.optim, method, 0.1)
    checkpoint.restore_(Path(folder) / "given" / "step_00000001", method, optimizer)
    worker.save(1, method, optimizer, {"order": order_of(config).identity})


def test_what_cannot_be_shared_out_is_refused():
    with pytest.raises(UserError, match=r"train: .*compile has not been tried with parallel fsdp"):
        parse(TREE, {"train.parallel": "fsdp", "train.compile": True})
    number, tied = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    number.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ValueError, match="scale is a single number"):
        check_shardable(number)
    tied[1].weight = tied[0].weight
    with pytest.raises(ValueError, match=r"0\.weight and 1\.weight are one parameter"):
        check_shardable(tied)
