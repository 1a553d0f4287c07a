import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load, save
from torch import nn

from ssl_core.optimize.optimizers import (
    LARS,
    OptimConfig,
    build_optimizer,
    clip_gradients_,
    load_optimizer_tensors_,
    optimizer_tensors,
    peak_lr,
    set_lr_,
    set_weight_decay_,
)

OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "adamw"},
    {"name": "sgd"},
    {"name": "sgd", "momentum": 0.0},
    {"name": "lars"},
]
every_optimizer = pytest.mark.parametrize("settings", OPTIMIZERS, ids=lambda s: "-".join(map(str, s.values())))


def _network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(144, 2)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _train(network: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        network(x.to(memory_format=torch.channels_last)).square().mean().backward()
        optimizer.step()


def test_peak_lr_follows_the_batch_size() -> None:
    assert peak_lr(OptimConfig(lr=0.2), 1024) == pytest.approx(0.8)
    assert peak_lr(OptimConfig(lr=0.2, lr_scaling="sqrt"), 1024) == pytest.approx(0.4)
    assert peak_lr(OptimConfig(lr=0.2, lr_scaling="none"), 1024) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", 0), ("lr", float("nan")), ("momentum", 1), ("betas", (0.9, 1)), ("warmup_fraction", 1.5), ("grad_clip", 0)],
)
def test_values_out_of_range_are_refused_by_key(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        OptimConfig.model_validate({key: value})


@every_optimizer
def test_every_trainable_parameter_is_in_a_group_and_vectors_do_not_decay(settings: dict[str, Any]) -> None:
    network = _network()
    network[0].requires_grad_(False)
    optimizer = build_optimizer(OptimConfig(**settings, weight_decay=0.3), network, 0.1)
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays.keys() == {p for p in network.parameters() if p.requires_grad}
    assert all(decay == (0.3 if p.ndim > 1 else 0) for p, decay in decays.items())


@every_optimizer
def test_training_resumes_bit_for_bit_from_safetensors(settings: dict[str, Any]) -> None:
    config = OptimConfig(**settings)
    straight = _network()
    optimizer = build_optimizer(config, straight, 0.05)
    _train(straight, optimizer, range(3))
    weights = save({k: v.contiguous() for k, v in straight.state_dict().items()})
    slots = save(optimizer_tensors(optimizer, straight))
    _train(straight, optimizer, range(3, 6))

    resumed = _network(seed=1)
    resumed.load_state_dict(load(weights))
    optimizer = build_optimizer(config, resumed, 0.05)
    load_optimizer_tensors_(optimizer, resumed, load(slots))
    _train(resumed, optimizer, range(3, 6))
    for key, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def test_state_is_named_after_the_parameters() -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    optimizer = build_optimizer(OptimConfig(), network, 0.1)
    assert optimizer_tensors(optimizer, network) == {}
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    slots = [f"{slot}/0.{name}" for name in ("weight", "bias") for slot in ("step", "exp_avg", "exp_avg_sq")]
    assert sorted(optimizer_tensors(optimizer, network)) == sorted(slots)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [({"exp_avg/9.weight": torch.zeros(2)}, "no trained parameter"), ({"exp_avg/4.bias": torch.zeros(3)}, "shape")],
)
def test_state_of_another_model_is_refused(tensors: dict[str, torch.Tensor], message: str) -> None:
    network = _network()
    with pytest.raises(ValueError, match=message):
        load_optimizer_tensors_(build_optimizer(OptimConfig(), network, 0.1), network, tensors)


def test_set_lr_reaches_every_group() -> None:
    optimizer = build_optimizer(OptimConfig(), _network(), 0.1)
    set_lr_(optimizer, 0.02)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.02]


def test_set_weight_decay_reaches_what_decays_alone() -> None:
    optimizer = build_optimizer(OptimConfig(weight_decay=0.04), _network(), 0.1)
    set_weight_decay_(optimizer, 0.4)
    decays = {p.ndim > 1: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {True: 0.4, False: 0.0}


@pytest.mark.parametrize("by", ["all", "parameter"])
def test_gradients_are_clipped_by_the_norm_that_is_asked_for(by: str) -> None:
    network = _network()
    for factor, p in enumerate(network.parameters()):
        p.grad = torch.full_like(p, 0.01 if factor == 0 else 1.0)
    before = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    clip_gradients_(network, OptimConfig.model_validate({"grad_clip": 0.5, "grad_clip_by": by}))
    norms = [grad.norm() for grad in before]
    whole = torch.stack(norms).norm()
    for p, grad, norm in zip(network.parameters(), before, norms, strict=True):
        scale = 0.5 / whole if by == "all" else min(1.0, 0.5 / norm)
        assert p.grad is not None
        torch.testing.assert_close(p.grad, grad * scale, rtol=1e-4, atol=1e-6)


def test_lars_is_algorithm_1_of_the_paper() -> None:
    layer = nn.Linear(3, 2)
    optimizer = build_optimizer(OptimConfig(name="lars", weight_decay=0.1, momentum=0.9), layer, 0.5)
    w, b = layer.weight.detach().clone().double(), layer.bias.detach().clone().double()
    v_w, v_b = torch.zeros_like(w), torch.zeros_like(b)
    for step in range(3):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        assert layer.weight.grad is not None and layer.bias.grad is not None
        g_w, g_b = layer.weight.grad.double(), layer.bias.grad.double()
        optimizer.step()
        local = 0.001 * w.norm() / (g_w.norm() + 0.1 * w.norm())
        v_w = 0.9 * v_w + 0.5 * local * (g_w + 0.1 * w)
        v_b = 0.9 * v_b + 0.5 * g_b
        w, b = w - v_w, b - v_b
        torch.testing.assert_close(layer.weight.detach().double(), w, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(layer.bias.detach().double(), b, rtol=1e-5, atol=1e-6)


def test_lars_moves_weights_that_start_at_zero() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = LARS([{"params": [weight]}], lr=0.1, momentum=0.0)
    weight.grad = torch.ones(2, 2)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), -0.1))


def test_a_parameter_without_gradient_stays() -> None:
    network = _network()
    optimizer = build_optimizer(OptimConfig(name="lars"), network, 0.1)
    before = copy.deepcopy(network.state_dict())
    optimizer.step()
    assert all(torch.equal(network.state_dict()[k], v) for k, v in before.items())
    assert optimizer_tensors(optimizer, network) == {}
