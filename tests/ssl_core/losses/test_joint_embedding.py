"""Losses of two views without negatives: against loops, closed forms, and lightly."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_core.losses.joint_embedding import barlow_twins, negative_cosine, vicreg
from ssl_core.nn.norm import BatchNorm1d
from ssl_core.optimize.collectives import gather, mean_over_workers
from tests.support.workers import on_workers

Loss = Callable[[Tensor, Tensor], Tensor]


def _views(count: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views that resemble each other, columns of unlike mean and spread, on both sides of VICReg's hinge."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(count, dim, generator=generator)
    b = a + 0.5 * torch.randn(count, dim, generator=generator)
    spread = torch.linspace(0.3, 2, dim)
    return a * spread + 1, b * spread - 1


def _same(ours: Loss, theirs: Loss, a: Tensor, b: Tensor, dtype: torch.dtype = torch.float32) -> None:
    """Loss and both gradients are equal."""
    results = []
    for loss_of, kind in ((ours, torch.float32), (theirs, dtype)):
        inputs = [x.to(kind, copy=True).requires_grad_() for x in (a, b)]
        loss = loss_of(*inputs)
        results.append([loss.detach().float(), *(g.float() for g in torch.autograd.grad(loss, inputs))])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


def _weighted_vicreg(a: Tensor, b: Tensor) -> Tensor:
    terms = vicreg(a, b, a, b)
    return 25 * terms.invariance + 25 * terms.variance + terms.covariance


def _negative_cosine_loop(p: Tensor, z: Tensor) -> Tensor:
    """SimSiam, eq. 1."""
    rows = [-(p[i] / p[i].norm()) @ (z[i] / z[i].norm()) for i in range(len(p))]
    return torch.stack(rows).mean()


def _barlow_twins_loop(a: Tensor, b: Tensor) -> Tensor:
    """Eq. 1 and 2, entry by entry; epsilon as in BatchNorm."""
    count, dim = a.shape

    def centered(z: Tensor, i: int) -> Tensor:
        return z[:, i] - z[:, i].sum() / count

    loss = a.new_zeros(())
    for i in range(dim):
        for j in range(dim):
            x, y = centered(a, i), centered(b, j)
            c = (x * y).sum() / count / ((x * x).sum() / count + 1e-5).sqrt() / ((y * y).sum() / count + 1e-5).sqrt()
            loss = loss + ((1 - c) ** 2 if i == j else 0.02 * c**2)
    return loss


def _vicreg_loop(a: Tensor, b: Tensor) -> Tensor:
    """Eq. 1 to 6 with the means of the authors' code."""
    count, dim = a.shape
    invariance = sum(((a[n] - b[n]) ** 2).sum() for n in range(count)) / (count * dim)
    variance, covariance = a.new_zeros(()), a.new_zeros(())
    for z in (a, b):
        x = [z[:, i] - z[:, i].sum() / count for i in range(dim)]
        for i in range(dim):
            variance = variance + (1 - ((x[i] ** 2).sum() / (count - 1) + 1e-4).sqrt()).clamp_min(0) / dim / 2
            for j in range(dim):
                if i != j:
                    covariance = covariance + ((x[i] * x[j]).sum() / (count - 1)) ** 2 / dim
    return 25 * invariance + 25 * variance + covariance


LOOPS: dict[str, tuple[Loss, Loss]] = {
    "negative_cosine": (negative_cosine, _negative_cosine_loop),
    "barlow_twins": (lambda a, b: barlow_twins(a, b, off_diagonal=0.02), _barlow_twins_loop),
    "vicreg": (_weighted_vicreg, _vicreg_loop),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loss_and_gradients_are_those_of_the_loop(name: str) -> None:
    ours, loop = LOOPS[name]
    _same(ours, loop, *_views(9, 5), dtype=torch.float64)


@pytest.mark.parametrize("name", LOOPS)
def test_stays_float32_under_autocast(name: str) -> None:
    ours, a, b = LOOPS[name][0], *_views(16, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(a, b), ours(a.float(), b.float())) and ours(a.bfloat16(), b).dtype == torch.float32
        got = ours(a, b)
    assert torch.equal(got, ours(a, b))


def test_byols_distance_of_unit_vectors_is_a_cosine() -> None:
    a, b = _views(9, 5)
    distance = (normalize(a, dim=-1) - normalize(b, dim=-1)).square().sum(-1).mean()
    torch.testing.assert_close(2 + 2 * negative_cosine(a, b), distance)


def _hadamard(log2: int) -> Tensor:
    """[N, N - 1] of +-1: columns with mean 0, orthogonal to each other."""
    matrix = torch.ones(1, 1)
    for _ in range(log2):
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix[:, 1:]


def test_barlow_twins_in_closed_form() -> None:
    z = _hadamard(3)  # [8, 7]
    assert float(barlow_twins(z, 5 * z + 3, off_diagonal=0.1)) == pytest.approx(0, abs=1e-6)  # identity
    assert float(barlow_twins(z, -z, off_diagonal=0.1)) == pytest.approx(7 * 4, rel=1e-4)  # minus the identity
    same = z[:, :1].expand(8, 7)  # 42 entries off the diagonal, all 1
    assert float(barlow_twins(same, same, off_diagonal=0.1)) == pytest.approx(4.2, rel=1e-4)


def test_vicreg_in_closed_form() -> None:
    z = _hadamard(3)
    assert all(float(term) == 0 for term in vicreg(z, z, z, z))
    assert float(vicreg(z, z + 2, z, z).invariance) == 4
    same = z[:, :1].expand(8, 7)  # covariance 8 / 7 everywhere, in both views
    assert float(vicreg(same, same, same, same).covariance) == pytest.approx(2 * 42 * (8 / 7) ** 2 / 7)


def test_vicreg_has_a_gradient_where_everything_has_collapsed() -> None:
    z = torch.full((8, 3), 2.0, requires_grad=True)
    variance = vicreg(z, z, z, z).variance
    variance.backward()
    assert variance.item() == pytest.approx(0.99) and z.grad is not None and z.grad.isfinite().all()


def test_vicreg_of_shares_averages_to_the_whole() -> None:
    a, b = _views(8, 5)
    parts = [torch.stack(vicreg(a[i : i + 2], b[i : i + 2], a, b)) for i in range(0, 8, 2)]
    torch.testing.assert_close(torch.stack(parts).mean(0), torch.stack(vicreg(a, b, a, b)))


# Barlow Twins on several workers: z = x @ weight, one step of what DistributedDataParallel would average.


def _ours(z_a: Tensor, z_b: Tensor) -> Tensor:
    return barlow_twins(gather(z_a), gather(z_b), off_diagonal=0.02)


def _summed_in_place(z_a: Tensor, z_b: Tensor) -> Tensor:
    """The authors' code: SyncBatchNorm, and an all-reduce of which autograd knows nothing."""
    norm = BatchNorm1d(z_a.shape[1], affine=False)
    c = norm(z_a).T @ norm(z_b) / (len(z_a) * dist.get_world_size())
    dist.all_reduce(c.detach())  # the same memory
    error = (c - torch.eye(len(c))).square()
    return error.trace() + 0.02 * (error.sum() - error.trace())


def _lightlys(z_a: Tensor, z_b: Tensor) -> Tensor:
    from lightly.loss import BarlowTwinsLoss

    loss: Tensor = BarlowTwinsLoss(lambda_param=0.02, gather_distributed=True)(z_a, z_b)
    return loss


def _step(rank: int, loss_of: Loss, x: tuple[Tensor, Tensor], weight: Tensor, world: int) -> tuple[Tensor, Tensor]:
    weight = weight.clone().requires_grad_()
    rows = slice(rank * len(x[0]) // world, (rank + 1) * len(x[0]) // world)
    loss = loss_of(*(view[rows] @ weight for view in x))
    (gradient,) = torch.autograd.grad(loss, weight)
    return mean_over_workers(loss.detach()), mean_over_workers(gradient)


def _two_and_one(loss_of: Loss, x: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(loss, gradient) of `loss_of` on two workers, and of ours on one."""
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(5))
    two, _ = on_workers(2, _step, loss_of, x, weight, 2)
    return two, _step(0, _ours, x, weight, 1)


def test_barlow_twins_on_two_workers_is_that_on_one() -> None:
    two, one = _two_and_one(_ours, _views(12, 6))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)


def test_barlow_twins_as_published_learns_at_a_rate_divided_by_the_workers() -> None:
    """An all-reduce in place has the right loss. Its gradient on each worker is that of this worker's summand alone;
    the sum over workers would be the loss's gradient, but DDP takes the mean: too small by the number of workers
    (lightly issue 1977, mended there in 1.6)."""
    (loss, gradient), (want_loss, want) = _two_and_one(_summed_in_place, _views(12, 6))
    torch.testing.assert_close(loss, want_loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, want / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.peers
def test_lightlys_barlow_twins_on_workers_is_ours_only_if_each_worker_has_the_same_statistics() -> None:
    """lightly standardizes a worker's columns by that worker's own mean and variance, the authors by all workers'."""
    pytest.importorskip("lightly.loss")
    a, b = _views(6, 6)
    two, one = _two_and_one(_lightlys, (a.repeat(2, 1), b.repeat(2, 1)))  # twice the same half
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)
    (loss, _), (want, _) = _two_and_one(_lightlys, _views(12, 6))
    assert abs(float(loss / want) - 1) > 0.01


@pytest.mark.peers
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["NegativeCosineSimilarity", "BarlowTwinsLoss", "VICRegLoss"])
def test_loss_and_gradients_are_lightlys(name: str, seed: int) -> None:
    lightly: Any = pytest.importorskip("lightly.loss")
    ours: dict[str, Loss] = {
        "NegativeCosineSimilarity": negative_cosine,
        "BarlowTwinsLoss": lambda a, b: barlow_twins(a, b, off_diagonal=0.005),
        "VICRegLoss": _weighted_vicreg,
    }
    theirs: nn.Module = getattr(lightly, name)()
    _same(ours[name], theirs, *_views(32, 16, seed))
