"""Every method, on every encoder it allows, computes on a CUDA device what it computes on a CPU. Names no method."""

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ssl_core import catalog
from ssl_core.methods.base import Method
from ssl_core.optimize.optimizers import OptimConfig, build_optimizer, load_optimizer_tensors_, optimizer_tensors
from ssl_core.optimize.sharding import shard_, whole
from ssl_core.types import Batch, Progress, Target
from tests.support.tiny import suitable_encoders, tiny_batch, tiny_method

pytestmark = pytest.mark.gpu
METHODS = catalog.names("ssl_core.methods")
every_pair = pytest.mark.parametrize(("name", "encoder"), [(m, e) for m in METHODS for e in suitable_encoders(m)])
STEPS = 4


@pytest.fixture(autouse=True)
def float32() -> Iterator[None]:
    """Convolutions in whole float32: by default CUDA rounds their inputs to ten bits (TF32)."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def nccl() -> Iterator[None]:
    """A process group of one: two processes cannot share a GPU over NCCL."""
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@every_pair
def test_loss_and_gradients_are_those_of_a_cpu(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder)
    there, batch = copy.deepcopy(method).cuda(), tiny_batch(method)
    want, got = method(batch, Progress(3, 10)).loss, there(_cuda(batch), Progress(3, 10)).loss
    want.backward()
    got.backward()
    torch.testing.assert_close(got.cpu(), want, rtol=1e-4, atol=1e-5)
    for (key, p), q in zip(method.named_parameters(), there.parameters(), strict=True):
        if p.grad is not None:
            torch.testing.assert_close(q.grad.cpu(), p.grad, rtol=1e-3, atol=1e-4, msg=lambda m, key=key: f"{key}: {m}")


@every_pair
def test_bf16_autocast_is_close_to_float32(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder).cuda()
    batch = _cuda(tiny_batch(method))
    want = copy.deepcopy(method)(batch, Progress(0, 10)).loss
    with torch.autocast("cuda", torch.bfloat16):
        loss = method(batch, Progress(0, 10)).loss
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, want, rtol=0.02, atol=0.02)


@every_pair
@pytest.mark.parametrize("optim", ["adamw", "sgd", "lars"])
def test_goes_on_from_safetensors_here_and_on_a_cpu(name: str, encoder: str, optim: str) -> None:
    """What was saved on a GPU is taken up on a GPU, and on a CPU; rounding differs, nothing else."""
    batches = [tiny_batch(tiny_method(name, encoder), seed=seed) for seed in range(STEPS)]
    config = OptimConfig(name=optim, weight_decay=0.01)
    straight = tiny_method(name, encoder).cuda()
    want = _losses(straight, batches, build_optimizer(config, straight, 0.003))
    half = tiny_method(name, encoder).cuda()
    optimizer = build_optimizer(config, half, 0.003)
    _losses(half, batches[:2], optimizer)
    weights = save({k: v.contiguous() for k, v in half.state_dict().items()})
    slots = save(optimizer_tensors(optimizer, half))
    for device in ("cuda", "cpu"):
        resumed = tiny_method(name, encoder, seed=9).to(device)
        resumed.load_state_dict(load(weights))
        optimizer = build_optimizer(config, resumed, 0.003)
        load_optimizer_tensors_(optimizer, resumed, load(slots))
        torch.testing.assert_close(_losses(resumed, batches[2:], optimizer, start=2), want[2:], rtol=5e-3, atol=1e-4)


@every_pair
@pytest.mark.parametrize("how", ["ddp", "fsdp", "fsdp in bf16"])
def test_one_nccl_worker_equals_none(name: str, encoder: str, how: str, nccl: None) -> None:
    """The collectives run; what crosses workers is tested with two, over gloo."""
    batch = _cuda(tiny_batch(tiny_method(name, encoder)))
    alone = tiny_method(name, encoder).cuda()
    want = alone(batch, Progress(0, 10)).loss
    want.backward()
    method = tiny_method(name, encoder)
    wrapped: torch.nn.Module = method
    if how == "ddp":
        wrapped = DistributedDataParallel(method.cuda(), broadcast_buffers=False, gradient_as_bucket_view=True)
    else:
        shard_(method, torch.device("cuda", 0), bf16=how == "fsdp in bf16")
    got = wrapped(batch, Progress(0, 10)).loss
    got.backward()
    exact = how != "fsdp in bf16"
    torch.testing.assert_close(got, want, rtol=1e-4 if exact else 0.03, atol=1e-5 if exact else 0.03)
    if exact:
        for (key, p), q in zip(alone.named_parameters(), method.parameters(), strict=True):
            if p.grad is not None:
                torch.testing.assert_close(whole(q.grad), p.grad, rtol=1e-3, atol=1e-4, msg=lambda m, key=key: key + m)


@pytest.mark.parametrize(("name", "encoder"), [("simclr", "resnet"), ("moco", "vit"), ("mae", "vit")])
def test_compiled_encoders_learn_the_same(name: str, encoder: str) -> None:
    """torch.compile fuses and so rounds otherwise; the losses of some steps stay together."""
    from pipelines.train.loop import compile_

    batches = [tiny_batch(tiny_method(name, encoder), seed=seed) for seed in range(STEPS)]
    plain, compiled = tiny_method(name, encoder).cuda(), tiny_method(name, encoder).cuda()
    compile_(compiled)
    want, got = (
        _losses(method, batches, build_optimizer(OptimConfig(name="sgd"), method, 0.01)) for method in (plain, compiled)
    )
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
    assert len(set(want.tolist())) == STEPS, "it learns"


def _cuda(batch: Batch) -> Batch:
    target = None if batch.target is None else Target(*(None if part is None else part.cuda() for part in batch.target))
    return Batch(tuple(v.cuda() for v in batch.views), batch.sample_id.cuda(), batch.valid, target)


def _losses(method: Method, batches: list[Batch], optimizer: torch.optim.Optimizer, start: int = 0) -> Tensor:
    """Train on them in turn, on the method's device -> [number of batches], on the CPU."""
    on_gpu, losses = next(method.parameters()).is_cuda, []
    for step, batch in enumerate(batches, start):
        optimizer.zero_grad()
        loss = method(_cuda(batch) if on_gpu else batch, Progress(step, 10)).loss
        loss.backward()
        optimizer.step()
        method.after_step(Progress(step + 1, 10))
        losses.append(loss.detach().cpu())
    return torch.stack(losses)
