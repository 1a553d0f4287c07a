"""Losses against loops that spell out the papers' formulas, and against closed forms."""

from collections.abc import Callable
from math import exp, log

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from ssl_core.losses import contrastive
from ssl_core.losses.contrastive import info_nce, nt_xent
from ssl_core.losses.reconstruction import mse, patch_mse, standardize


def _unit(count: int, dim: int, seed: int) -> Tensor:
    return normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def _nt_xent_loop(a: Tensor, b: Tensor, temperature: float) -> float:
    """SimCLR, algorithm 1: 2N vectors, positives at (2k - 1, 2k)."""
    z = [v for pair in zip(a.double(), b.double(), strict=True) for v in pair]
    total = 0.0
    for i in range(len(z)):
        positive = i ^ 1
        others = sum(exp(float(z[i] @ z[k]) / temperature) for k in range(len(z)) if k != i)
        total -= log(exp(float(z[i] @ z[positive]) / temperature) / others)
    return total / len(z)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_algorithm_1(temperature: float) -> None:
    a, b = _unit(7, 5, 0), _unit(7, 5, 1)
    loss = nt_xent(a, b, a, b, first=0, temperature=temperature)
    assert float(loss) == pytest.approx(_nt_xent_loop(a, b, temperature), rel=1e-5)


def test_nt_xent_of_orthogonal_pairs_in_closed_form() -> None:
    a = torch.eye(6)
    loss = nt_xent(a, a, a, a, first=0, temperature=0.5)
    assert float(loss) == pytest.approx(log(exp(2) + 10) - 2, rel=1e-6)  # one positive at 1, ten negatives at 0


def test_nt_xent_of_shares_averages_to_the_whole() -> None:
    a, b = _unit(8, 5, 0), _unit(8, 5, 1)
    parts = [nt_xent(a[i : i + 2], b[i : i + 2], a, b, first=i, temperature=0.2) for i in range(0, 8, 2)]
    torch.testing.assert_close(torch.stack(parts).mean(), nt_xent(a, b, a, b, first=0, temperature=0.2))


def _nt_xent_matrix(a: Tensor, b: Tensor, all_a: Tensor, all_b: Tensor, first: int, temperature: float) -> Tensor:
    """Equation 1 as one cross entropy over the whole matrix of similarities, with autograd's gradients."""
    rows = first + torch.arange(len(a))

    def one_side(anchor: Tensor, same: Tensor, other: Tensor) -> Tensor:
        within = (anchor @ same.T).scatter(1, rows[:, None], float("-inf"))  # not with itself
        return cross_entropy(torch.cat([anchor @ other.T, within], dim=1) / temperature, rows)

    return (one_side(a, all_a, all_b) + one_side(b, all_b, all_a)) / 2


@pytest.mark.parametrize("elements", [1, 50, 1 << 20])  # one row at a time, a ragged last tile, one tile
def test_nt_xent_in_tiles_has_the_loss_and_gradients_of_the_whole_matrix(
    monkeypatch: pytest.MonkeyPatch, elements: int
) -> None:
    monkeypatch.setattr(contrastive, "TILE_ELEMENTS", elements)

    def run(loss_of: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        inputs = [t.requires_grad_() for t in (_unit(5, 4, 0), _unit(5, 4, 1), _unit(11, 4, 2), _unit(11, 4, 3))]
        loss = loss_of(*inputs, first=3, temperature=0.3)
        (3 * loss).backward()
        return loss.detach(), *[t.grad for t in inputs if t.grad is not None]

    whole, tiled = run(_nt_xent_matrix), run(nt_xent)
    assert len(whole) == len(tiled) == 5
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-6)


def test_nt_xent_keeps_no_similarities_for_backward() -> None:
    a = _unit(500, 4, 0).requires_grad_()
    held: list[int] = []

    def note(saved: Tensor) -> Tensor:
        held.append(saved.numel())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        nt_xent(a, a, a, a, first=0, temperature=0.5)
    assert held and max(held) <= 500 * 4  # vectors, not a [500, 1000] matrix


def _info_nce_loop(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> float:
    """MoCo, eq. 1."""
    total = 0.0
    for q, k in zip(query.double(), key.double(), strict=True):
        positive = exp(float(q @ k) / temperature)
        total -= log(positive / (positive + sum(exp(float(q @ n.double()) / temperature) for n in queue)))
    return total / len(query)


def test_info_nce_is_equation_1() -> None:
    q, k, queue = _unit(4, 6, 0), _unit(4, 6, 1), _unit(9, 6, 2)
    loss = info_nce(q, k, queue, temperature=0.2)
    assert float(loss) == pytest.approx(_info_nce_loop(q, k, queue, 0.2), rel=1e-5)


def test_contrastive_losses_stay_float32_under_autocast() -> None:
    a, b = _unit(16, 8, 0), _unit(16, 8, 1)
    want = nt_xent(a, b, a, b, first=0, temperature=0.1), info_nce(a, b, b, temperature=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        got = nt_xent(a, b, a, b, first=0, temperature=0.1), info_nce(a, b, b, temperature=0.1)
    assert torch.equal(torch.stack(got), torch.stack(want))


def test_patch_mse_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, 2, 3, 5, generator=generator)
    total = 0.0
    for b in range(2):
        for m in range(3):
            patch = [float(v) for v in target[b, m]]
            mean = sum(patch) / 5
            std = (sum((v - mean) ** 2 for v in patch) / 4 + 1e-6) ** 0.5
            total += sum((float(predicted[b, m, i]) - (patch[i] - mean) / std) ** 2 for i in range(5))
    assert float(patch_mse(predicted, target, standardized=True)) == pytest.approx(total / 30, rel=1e-5)
    raw = sum((float(p) - float(t)) ** 2 for p, t in zip(predicted.flatten(), target.flatten(), strict=True)) / 30
    assert float(patch_mse(predicted, target, standardized=False)) == pytest.approx(raw, rel=1e-5)


def test_a_flat_patch_standardizes_to_zero() -> None:
    values, mean, std = standardize(torch.full((1, 1, 4), 7.0))
    assert torch.equal(values, torch.zeros(1, 1, 4)) and float(mean) == 7 and float(std) == pytest.approx(1e-3)


def test_mse_refuses_to_broadcast() -> None:
    assert float(mse(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0]))) == 2
    with pytest.raises(ValueError, match="cannot compare"):
        mse(torch.zeros(2, 3), torch.zeros(3))
