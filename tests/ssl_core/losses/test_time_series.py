"""TS2Vec's losses against the paper's formulas, written as loops."""

from math import exp, log

import pytest
import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from ssl_core.losses.time_series import hierarchical_contrast, instance_contrast, temporal_contrast


def drawn(count: int, steps: int, seed: int) -> Tensor:
    return torch.randn(count, steps, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 2


def instance_loop(a: Tensor, b: Tensor) -> float:
    """Equation 2 from both contexts: at each step the batch in both of them, but for the anchor itself."""
    total, count = 0.0, 0
    for one, other in ((a, b), (b, a)):
        for i in range(len(a)):
            for t in range(a.shape[1]):
                alike = exp(float(one[i, t] @ other[i, t]))
                rest = sum(exp(float(one[i, t] @ other[j, t])) for j in range(len(a)))
                rest += sum(exp(float(one[i, t] @ one[j, t])) for j in range(len(a)) if j != i)
                total, count = total - log(alike / rest), count + 1
    return total / count


def temporal_loop(a: Tensor, b: Tensor) -> float:
    """Equation 1: in each sample all steps in both contexts, but for the anchor itself."""
    swapped = (x.transpose(0, 1) for x in (a, b))
    return instance_loop(*swapped)


def hierarchical_loop(a: Tensor, b: Tensor, alpha: float) -> float:
    """Algorithm 1; at one step alone the temporal part is empty, and that level counts as one."""
    levels = list[float]()
    while a.shape[1] > 1:
        levels.append(alpha * instance_loop(a, b) + (1 - alpha) * temporal_loop(a, b))
        a, b = (max_pool1d(x.transpose(1, 2), 2).transpose(1, 2) for x in (a, b))
    levels.append(alpha * instance_loop(a, b))
    return sum(levels) / len(levels)


def test_both_parts_are_the_papers_sums() -> None:
    a, b = drawn(4, 5, 0), drawn(4, 5, 1)
    assert float(instance_contrast(a, b, a, b, first=0)) == pytest.approx(instance_loop(a, b), rel=1e-6)
    assert float(temporal_contrast(a, b)) == pytest.approx(temporal_loop(a, b), rel=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7, 8])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_hierarchy_divides_by_its_levels(steps: int, alpha: float) -> None:
    a, b = drawn(3, steps, 0), drawn(3, steps, 1)
    found = float(hierarchical_contrast(a, b, a, b, first=0, alpha=alpha))
    assert found == pytest.approx(hierarchical_loop(a, b, alpha), rel=1e-5, abs=1e-6)


def test_two_halves_of_a_batch_mean_the_whole() -> None:
    a, b = drawn(6, 4, 0).float(), drawn(6, 4, 1).float()
    whole = hierarchical_contrast(a, b, a, b, first=0, alpha=0.5)
    halves = [hierarchical_contrast(a[i : i + 3], b[i : i + 3], a, b, first=i, alpha=0.5) for i in (0, 3)]
    torch.testing.assert_close(sum(halves) / 2, whole)


def test_its_gradient_is_that_of_finite_differences() -> None:
    a, b = drawn(2, 3, 0).requires_grad_(), drawn(2, 3, 1)
    torch.autograd.gradcheck(lambda x: instance_contrast(x, b, x, b, first=0) + temporal_contrast(x, b), (a,))
