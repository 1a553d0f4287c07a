"""LARS and the schedule of teachers' momentum beside lightly's: `pytest -m peers`."""

from typing import Any

import pytest
import torch
from torch import nn

from ssl_core.optimize.optimizers import OptimConfig, build_optimizer, set_lr_
from ssl_core.optimize.schedules import teacher_momentum

pytestmark = pytest.mark.peers
DECAY, MOMENTUM = 0.1, 0.9


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    network(x).square().mean().backward()
    optimizer.step()


def _pair(lr: float) -> tuple[nn.Module, torch.optim.Optimizer, nn.Module, torch.optim.Optimizer]:
    """The same network with our LARS and with lightly's, which adapts what decays: matrices, not vectors."""
    lars: Any = pytest.importorskip("lightly.utils.lars").LARS
    ours, theirs = _network(), _network()
    matrices, vectors = ([p for p in theirs.parameters() if (p.ndim > 1) == wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    config = OptimConfig(name="lars", weight_decay=DECAY, momentum=MOMENTUM)
    return ours, build_optimizer(config, ours, lr), theirs, lars(groups, lr=lr, momentum=MOMENTUM)


def test_lars_is_lightlys_at_a_constant_learning_rate() -> None:
    """Up to lightly's 1e-8 in the denominator of the trust ratio, which algorithm 1 does not have."""
    ours, our_lars, theirs, their_lars = _pair(lr=0.5)
    start = [p.detach().clone() for p in ours.parameters()]
    for seed in range(6):
        _step(ours, our_lars, seed)
        _step(theirs, their_lars, seed)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    for p, old in zip(ours.parameters(), start, strict=True):
        assert (p - old).norm() > 1e-3


def test_lars_keeps_the_learning_rate_of_each_step_in_its_momentum_and_lightly_does_not() -> None:
    """Algorithm 1 sums steps, each of its own learning rate: v <- m v + lr (...), w <- w - v. lightly sums gradients,
    as torch's SGD does, and multiplies the sum by today's rate: v <- m v + (...), w <- w - lr v. After the rate has
    gone from 0.5 to 0.1 what remains of the first step is m v for us and a fifth of it for lightly."""
    ours, our_lars, theirs, their_lars = _pair(lr=0.5)
    _step(ours, our_lars, 0)
    _step(theirs, their_lars, 0)
    velocity = [our_lars.state[p]["momentum_buffer"].clone() for p in ours.parameters()]
    set_lr_(our_lars, 0.1)
    for group in their_lars.param_groups:
        group["lr"] = 0.1
    _step(ours, our_lars, 1)
    _step(theirs, their_lars, 1)
    for mine, other, v in zip(ours.parameters(), theirs.parameters(), velocity, strict=True):
        torch.testing.assert_close(other - mine, MOMENTUM * v * (1 - 0.1 / 0.5), rtol=1e-3, atol=1e-6)


def test_lars_without_gradient_decays_and_lightlys_stands_still() -> None:
    """At a gradient of exactly zero there is no trust ratio. Ours takes 1, as the authors of BYOL, Barlow Twins and
    VICReg do where the update's norm is zero, so that weight decay goes on; lightly leaves decay out too."""
    ours, our_lars, theirs, their_lars = _pair(lr=0.5)
    weights = []
    for network, lars in ((ours, our_lars), (theirs, their_lars)):
        for p in network.parameters():
            p.grad = torch.zeros_like(p)
        lars.step()
        weights.append(next(network.parameters()).detach())
    start = next(_network().parameters()).detach()
    assert torch.equal(weights[1], start)
    torch.testing.assert_close(weights[0], start * (1 - 0.5 * DECAY))


@pytest.mark.parametrize("start", [0.97, 0.996])
def test_a_teachers_momentum_is_lightlys_cosine_schedule(start: float) -> None:
    """lightly's reaches its end at the last of its steps, ours one later, as in BYOL's and DINO's code: K of ours are
    K + 1 of its."""
    schedule: Any = pytest.importorskip("lightly.utils.scheduler").cosine_schedule
    ours = [teacher_momentum(start, step, 50) for step in range(1, 51)]
    assert ours == pytest.approx([schedule(k, 51, start, 1.0) for k in range(50)], abs=1e-12)
