"""Every file in ssl_core/methods, on every encoder it allows, keeps the same promises. Nothing here names a method."""

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_core import catalog
from ssl_core.methods.base import Method
from ssl_core.optimize.collectives import mean_over_workers
from ssl_core.optimize.optimizers import OptimConfig, build_optimizer, load_optimizer_tensors_, optimizer_tensors
from ssl_core.optimize.sharding import check_shardable, shard_, whole
from ssl_core.types import Batch, Progress
from tests.support.tiny import SMALL_METHODS, rows, suitable_encoders, tiny_batch, tiny_method
from tests.support.workers import on_workers

METHODS = catalog.names("ssl_core.methods")
every_method = pytest.mark.parametrize("name", METHODS)
every_pair = pytest.mark.parametrize(("name", "encoder"), [(m, e) for m in METHODS for e in suitable_encoders(m)])


@every_method
def test_says_what_it_is(name: str) -> None:
    component = catalog.find("ssl_core.methods", name)
    config = component.Config(**SMALL_METHODS.get(name, {}))
    assert config.name == name and component.kinds(config)
    assert catalog.summary("ssl_core.methods", name)
    assert suitable_encoders(name), "no encoder in the catalog suits its encoder_type"


@every_pair
def test_loss_is_finite_and_reaches_the_encoder(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder)
    out = method(tiny_batch(method), Progress(0, 10))
    out.loss.backward()
    assert out.loss.shape == () and out.loss.dtype == torch.float32 and out.loss.isfinite()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.encoder.parameters())
    missing = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing, "DistributedDataParallel waits for ever for a gradient that never comes"
    assert all(v.shape == () and not v.requires_grad for v in out.metrics.values())


@every_pair
def test_same_batch_same_loss(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder)
    batch = tiny_batch(method)
    torch.manual_seed(1)
    first = copy.deepcopy(method)(batch, Progress(5, 10)).loss
    torch.manual_seed(2)
    again = copy.deepcopy(method)(batch, Progress(5, 10)).loss
    assert first == again, "randomness must be keyed by batch.sample_id, not by global state"


@every_pair
def test_order_within_the_batch_does_not_matter(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder)
    batch = tiny_batch(method)
    mixed = rows(batch, torch.tensor([3, 0, 7, 1, 6, 2, 5, 4]))
    want = copy.deepcopy(method)(batch, Progress(5, 10)).loss
    torch.testing.assert_close(method(mixed, Progress(5, 10)).loss, want, rtol=1e-5, atol=1e-6)


@every_pair
def test_resumes_exactly_from_safetensors(name: str, encoder: str) -> None:
    batches = [tiny_batch(tiny_method(name, encoder), seed=seed) for seed in range(5)]
    straight, _ = _train(tiny_method(name, encoder), batches)
    half, optimizer = _train(tiny_method(name, encoder), batches[:2])
    weights = save({k: v.contiguous() for k, v in half.state_dict().items()})
    slots = save(optimizer_tensors(optimizer, half))

    resumed = tiny_method(name, encoder, seed=9)
    resumed.load_state_dict(load(weights))
    optimizer = _optimizer(resumed)
    load_optimizer_tensors_(optimizer, resumed, load(slots))
    resumed, _ = _train(resumed, batches[2:], start=2, optimizer=optimizer)
    for key, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


@every_pair
def test_learns_one_batch(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder)
    batch = tiny_batch(method)
    before = copy.deepcopy(method)(batch, Progress(0, 10)).loss
    optimizer = _optimizer(method)
    for _ in range(30):  # without after_step: teachers and queues stand still, so there is one loss to lower
        optimizer.zero_grad()
        method(batch, Progress(0, 10)).loss.backward()
        optimizer.step()
    assert method(batch, Progress(0, 10)).loss < 0.9 * before


@every_pair
def test_bf16_autocast_is_close_to_float32(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder)
    batch = tiny_batch(method)
    want = copy.deepcopy(method)(batch, Progress(0, 10)).loss
    with torch.autocast("cpu", torch.bfloat16):
        loss = method(batch, Progress(0, 10)).loss
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, want, rtol=0.02, atol=0.02)


@every_pair
def test_memory_format_changes_nothing(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder)
    memory_format = method.encoder.memory_format
    batch = tiny_batch(method)
    want = copy.deepcopy(method)(batch, Progress(0, 10)).loss
    views = tuple(v.to(memory_format=memory_format) for v in batch.views)
    turned = method.to(memory_format=memory_format)
    got = turned(Batch(views, batch.sample_id, batch.valid, batch.target), Progress(0, 10)).loss
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@every_pair
def test_reconstructions_have_the_shape_of_the_view(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder).eval()
    pictures = method.reconstruct(tiny_batch(method))
    assert (pictures is None) == (type(method).reconstruct is Method.reconstruct)
    for picture in pictures or ():
        assert (
            picture.shape == (8, *method.encoder.view_shape) and picture.isfinite().all() and not picture.requires_grad
        )


@every_pair
def test_two_workers_equal_one(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder)
    batches = [tiny_batch(method, seed=seed) for seed in range(2)]
    want_losses, want_grads, want_state = _two_steps(0, method, batches, 1)
    got = on_workers(2, _two_steps, method, batches, 2)
    for losses, grads, state in got:
        torch.testing.assert_close(losses, want_losses, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(grads, want_grads, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(state, want_state, rtol=1e-3, atol=1e-5)  # running statistics, queue, teacher


@every_pair
def test_two_workers_that_share_the_parameters_out_equal_one(name: str, encoder: str) -> None:
    method = tiny_method(name, encoder)
    check_shardable(method)
    batches = [tiny_batch(method, seed=seed) for seed in range(2)]
    want_losses, want_grads, want_state = _two_steps(0, method, batches, 1)
    for losses, grads, state in on_workers(2, _two_steps, method, batches, 2, True):
        torch.testing.assert_close(losses, want_losses, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(grads, want_grads, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(state, want_state, rtol=1e-3, atol=1e-5)


def _two_steps(
    rank: int, method: Method, batches: list[Batch], world: int, sharded: bool = False
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Global losses [2], the first step's gradients, and the state after two steps of plain SGD."""
    method = copy.deepcopy(method)  # what came from another process shares its memory with all workers
    share = slice(rank * 8 // world, (rank + 1) * 8 // world)
    wrapped: nn.Module = method
    if sharded:
        shard_(method, torch.device("cpu"), bf16=False)
    elif world > 1:
        wrapped = DistributedDataParallel(method, broadcast_buffers=False)
    losses: list[Tensor] = []
    grads: dict[str, Tensor] = {}
    for step, batch in enumerate(batches):
        method.zero_grad()
        loss = wrapped(rows(batch, share), Progress(step, 10)).loss
        loss.backward()
        with torch.no_grad():
            for name, p in method.named_parameters():
                if p.grad is not None:
                    grads.setdefault(name, whole(p.grad).clone())
                    p.sub_(p.grad, alpha=0.01)
        method.after_step(Progress(step + 1, 10))
        losses.append(mean_over_workers(loss.detach()))
    return torch.stack(losses), grads, {name: whole(tensor) for name, tensor in method.state_dict().items()}


def _optimizer(method: Method) -> torch.optim.Optimizer:
    return build_optimizer(OptimConfig(weight_decay=0.01), method, peak_lr=3e-3)


def _train(
    method: Method, batches: list[Batch], start: int = 0, optimizer: torch.optim.Optimizer | None = None
) -> tuple[Method, torch.optim.Optimizer]:
    optimizer = optimizer or _optimizer(method)
    for step, batch in enumerate(batches, start):
        optimizer.zero_grad()
        method(batch, Progress(step, 10)).loss.backward()
        method.before_step(Progress(step, 10))
        optimizer.step()
        method.after_step(Progress(step + 1, 10))
    return method, optimizer
