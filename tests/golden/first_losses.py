"""The losses of every method's first three steps, so that a refactoring that changes them is seen.

Regenerate after a change that is meant: `python -m tests.golden.first_losses`, and say why in the commit.
"""

import json
from pathlib import Path

import torch

from ssl_core import catalog
from ssl_core.optimize.optimizers import OptimConfig, build_optimizer
from ssl_core.types import Progress
from tests.support.tiny import suitable_encoders, tiny_batch, tiny_method

FILE = Path(__file__).with_suffix(".json")
STEPS = 3


def pairs() -> list[str]:
    """Every method on every encoder it allows, as "method/encoder"."""
    return [f"{m}/{e}" for m in catalog.names("ssl_core.methods") for e in suitable_encoders(m)]


def first_losses(pair: str) -> list[float]:
    name, encoder = pair.split("/")
    method = tiny_method(name, encoder)
    optimizer = build_optimizer(OptimConfig(name="sgd", weight_decay=0.0), method, peak_lr=0.01)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss: torch.Tensor = method(tiny_batch(method, seed=step), Progress(step, STEPS)).loss
        loss.backward()
        optimizer.step()
        method.after_step(Progress(step + 1, STEPS))
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    losses = {pair: [float(f"{x:.9g}") for x in first_losses(pair)] for pair in pairs()}
    FILE.write_text(json.dumps(losses, indent=1) + "\n")
