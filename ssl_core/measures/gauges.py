"""Label-free gauges of a set of embeddings: has the encoder collapsed, how much of its width is used?

They warn; they do not rank encoders (on our digits RankMe ranked 36 of them backwards).

Shapes: N samples, D embedding width. Inputs of any float type are measured in float32.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def feature_std(z: Tensor) -> Tensor:
    """Spread of the unit-length embeddings: 0 when all point the same way, 1 when evenly spread.

    The per-dimension std of z / |z| averaged over dimensions, times sqrt(D): SimSiam's collapse gauge
    (Chen & He 2021, section 4.1, https://arxiv.org/abs/2011.10566), which is 1 / sqrt(D) at best.

    Args:
        z: [N, D]. Returns: [] in [0, 1].
    """
    unit = normalize(z.float(), dim=1)  # [N, D]
    return unit.std(dim=0, correction=0).mean() * z.shape[1] ** 0.5


def rankme(z: Tensor, epsilon: float = 1e-7) -> Tensor:
    """Effective rank: exp of the entropy of the normalized singular values.

    RankMe, equation 1 of Garrido et al. 2023 (https://arxiv.org/abs/2210.02885), without centering,
    as in the paper: exp(-sum_k p_k log p_k), p_k = sigma_k / |sigma|_1 + epsilon.

    Args:
        z: [N, D]. Returns: [] between 1 (rank one, or all zero) and min(N, D).
    """
    wide = z.double()  # the Gram matrix squares the singular values: float32 would lose the small ones
    gram = wide.mT @ wide if z.shape[1] <= z.shape[0] else wide @ wide.mT  # [min(N, D), min(N, D)]
    sigma = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    p = sigma / sigma.sum().clamp_min(torch.finfo(torch.float64).tiny) + epsilon
    return (-(p * p.log()).sum()).exp().clamp(1, len(sigma)).float()


def alignment(z_a: Tensor, z_b: Tensor) -> Tensor:
    """Mean squared distance between the unit-length embeddings of two views of the same samples.

    Wang & Isola 2020 (https://arxiv.org/abs/2005.10242), section 4.1.1 with alpha = 2.

    Args:
        z_a, z_b: [N, D]; row i of both comes from sample i. Returns: [] in [0, 4], 0 is perfect.
    """
    return (normalize(z_a.float(), dim=1) - normalize(z_b.float(), dim=1)).square().sum(dim=1).mean()


def uniformity(z: Tensor, t: float = 2.0, block: int = 4096) -> Tensor:
    """How evenly the unit-length embeddings cover the sphere: log of the mean Gaussian potential of pairs.

    Wang & Isola 2020 (https://arxiv.org/abs/2005.10242), section 4.1.2:
    log E exp(-t |x - y|^2) over all pairs of different samples.

    Args:
        z: [N, D], N >= 2.
        block: rows compared at once; memory is block x N.
    Returns: [] in [-4t, 0]; 0 is full collapse, lower is more uniform.
    Raises:
        ValueError: fewer than two samples.
    """
    if len(z) < 2:
        raise ValueError(f"uniformity compares pairs: it needs at least 2 samples, got {len(z)}")
    unit = normalize(z.float(), dim=1)  # [N, D]
    total = z.new_zeros((), dtype=torch.float64)
    for first in range(0, len(unit), block):
        rows = unit[first : first + block]  # [b, D]
        potential = ((rows @ unit.mT - 1).clamp_max(0) * (2 * t)).exp()  # [b, N]: |x - y|^2 = 2 - 2 x.y
        potential.diagonal(first).zero_()  # a sample is no pair with itself
        total = total + potential.double().sum()
    return (total / (len(unit) * (len(unit) - 1))).log().float()
