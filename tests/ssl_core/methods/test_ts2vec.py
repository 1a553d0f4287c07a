"""What TS2Vec shows its encoder, and what it exports."""

import copy

import pytest
import torch

from ssl_core.methods import ts2vec
from ssl_core.types import Progress
from tests.support.tiny import tiny_batch, tiny_method


@pytest.mark.parametrize("length", [2, 3, 16, 100])
def test_crops_overlap_in_two_steps_or_more_and_reach_both_ends(length: int) -> None:
    crops = [ts2vec._crops(length, Progress(step, 1000, seed=3)) for step in range(1000)]
    assert all(0 <= low <= left < right - 1 <= high - 1 < length for low, left, right, high in crops)
    assert min(crop[0] for crop in crops) == 0 and max(crop[3] for crop in crops) == length
    assert {right - left for _, left, right, _ in crops} == set(range(2, length + 1)), "every overlap there can be"


def test_both_contexts_are_of_the_same_steps() -> None:
    """An encoder that looks at each step alone says the same of it in both crops."""
    method = tiny_method("ts2vec").eval()  # without masks and dropout
    for block in method.encoder.blocks:
        for conv in (block.conv1, block.conv2):
            torch.nn.init.zeros_(conv.weight[:, :, [0, 2]])
            conv.weight.data[:, :, [0, 2]] = 0  # kernels of one step
    batch = tiny_batch(method)
    for step in range(20):
        a, b = method._contexts(batch.views[0], batch.sample_id, Progress(step, 20))
        torch.testing.assert_close(a, b)


def test_half_of_the_steps_are_masked_and_otherwise_in_each_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    method = tiny_method("ts2vec")
    batch, seen = tiny_batch(method), list[torch.Tensor]()

    def encode(steps: torch.Tensor) -> torch.Tensor:
        seen.append((steps == 0).all(-1))
        return steps.repeat(1, 1, 2)

    monkeypatch.setattr(method.encoder, "encode", encode)
    for step in range(50):
        method._contexts(batch.views[0], batch.sample_id, Progress(step, 50))
    share = torch.cat([mask.flatten() for mask in seen]).float().mean()
    assert 0.45 < share < 0.55
    assert any(a.shape == b.shape and not torch.equal(a, b) for a, b in zip(seen[::2], seen[1::2], strict=True))


def test_the_exported_encoder_is_the_mean_of_all_steps() -> None:
    method = tiny_method("ts2vec")
    assert method.exported is method.averaged
    weights = list[torch.Tensor]()
    for step in range(1, 4):
        with torch.no_grad():
            method.encoder.project.weight.add_(step)
        weights.append(copy.deepcopy(method.encoder.project.weight.detach()))
        method.after_step(Progress(step, 3))
    torch.testing.assert_close(method.averaged.project.weight, torch.stack(weights).mean(0))
