"""Every file in ssl_core/tasks keeps the same promises. Nothing here but the smallest settings names a task."""

from typing import Any

import pytest
import torch

from ssl_core import catalog
from ssl_core.tasks.base import Task
from ssl_core.types import Target

PACKAGE, WIDTH, SIZE, NUM_TOKENS = "ssl_core.tasks", 6, 12, 5
SMALL: dict[str, dict[str, Any]] = {"classification": {"num_classes": 3}}
TARGETS = {"class": Target(torch.arange(SIZE) % 3)}
every_task = pytest.mark.parametrize("name", catalog.names(PACKAGE))


def built(name: str) -> tuple[Task, torch.Tensor]:
    """A task, and features that its head reads."""
    component = catalog.find(PACKAGE, name)
    task: Task = component(component.Config(**SMALL.get(name, {})))
    shape = (SIZE, WIDTH) if task.reads == "pooled" else (SIZE, NUM_TOKENS, WIDTH)
    return task, torch.randn(shape, generator=torch.Generator().manual_seed(0))


@every_task
def test_says_what_it_is(name: str) -> None:
    task, _ = built(name)
    assert isinstance(task, Task) and task.config.name == name and catalog.summary(PACKAGE, name)
    assert task.reads in ("pooled", "tokens", "method")


@every_task
def test_its_head_learns_the_target(name: str) -> None:
    task, features = built(name)
    target = TARGETS[task.target]
    torch.manual_seed(0)
    head = task.head(WIDTH)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = task.loss(head(features), None, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert loss.shape == () and loss.dtype == torch.float32 and losses[-1] < 0.5 * losses[0]
    predicted = task.predict(head(features))
    assert predicted.shape == target.value.shape and not predicted.requires_grad
    scores = task.scores(predicted, target)
    assert scores.keys() == task.measures.keys()
    perfect = task.scores(target.value, target)
    for key, measure in task.measures.items():
        assert perfect[key].value == (measure.high if measure.better == "high" else measure.low)
        assert measure.low <= scores[key].value <= measure.high
        assert scores[key].per_sample is None or len(scores[key].per_sample) == SIZE
