"""Label-free health of frozen features: how their energy decays, which samples stand out.

They warn; they do not rank encoders unless a campaign has shown that they do (see `gauges`).

Shapes: N samples, V views of each, D feature width, K = min(N, D). Inputs of any float type.
"""

import torch
from torch import Tensor

_NOISE = 1e-12  # of the largest eigenvalue: what float32 features leave where there is no energy


def spectrum(z: Tensor) -> Tensor:
    """Singular values of the centered features over their sum, largest first: the dimensional-collapse curve.

    A healthy curve falls slowly; values at zero are directions the encoder does not use (Jing et al. 2022, figure 3,
    https://arxiv.org/abs/2110.09348, which plots the eigenvalues of the covariance: the squares of these).

    Args:
        z: [N, D].
    Returns: [K] float32 that sum to 1; all zero when every sample has the same features.
    Raises:
        ValueError: no sample, or features that are not finite.
    """
    sigma = _energies(z).sqrt()  # [K]
    return (sigma / sigma.sum().clamp_min(torch.finfo(torch.float64).tiny)).float()


def alpha_req(z: Tensor, first: int = 4, last: int = 100) -> Tensor:
    """Decay alpha of the covariance spectrum, eigenvalue_i ~ i^-alpha: near 1 is healthy, far above is collapse.

    Alpha-ReQ (Agrawal et al. 2022, https://openreview.net/forum?id=ii9X4vtZGTZ). The ranks of the fit are the authors'
    code's, not the paper's: log-log least squares weighted by 1 / rank over ranks 4 to 100.

    Args:
        z: [N, D].
        first, last: ranks (the largest eigenvalue has rank 1) between which the line is fitted; ranks without
            energy are left out.
    Returns: [] float32; infinite when fewer than two ranks are left: the spectrum has ended before `first`.
    Raises:
        ValueError: no sample, or features that are not finite.
    """
    energy = _energies(z)  # [K]
    rank = torch.arange(1, len(energy) + 1, dtype=torch.float64, device=z.device)  # [K]
    used = (rank >= first) & (rank <= last) & (energy > _NOISE * energy[0])
    if int(used.sum()) < 2:
        return torch.tensor(torch.inf, device=z.device)
    x, y, weight = rank[used].log(), energy[used].log(), 1 / rank[used]
    weight = weight / weight.sum()
    x, y = x - (weight * x).sum(), y - (weight * y).sum()
    return -((weight * x * y).sum() / (weight * x * x).sum()).float()


def lidar(z: Tensor, delta: float = 1e-4, epsilon: float = 1e-7) -> Tensor:
    """Effective rank of the features by which samples differ more than views of one sample do.

    LiDAR, equations 1-4 of Thilak et al. 2023 (https://arxiv.org/abs/2312.04000): views of one sample are a class; the
    eigenvalues of Sw^-1/2 Sb Sw^-1/2 give exp(-sum_i p_i log p_i), p_i = lambda_i / |lambda|_1 + epsilon.
    The paper uses 1,000 samples of 50 views; more samples than dimensions, and 10 views or more, are advised.

    Args:
        z: [N, V, D] features of V >= 2 views of each of N >= 2 samples.
        delta: added to the diagonal of the within-sample scatter.
    Returns: [] float32 between 1 and D.
    Raises:
        ValueError: another shape, or features that are not finite.
    """
    if z.ndim != 3 or min(z.shape[:2]) < 2:
        raise ValueError(f"lidar needs [N, V, D] with two samples and two views of each or more; got {list(z.shape)}")
    _check_finite(z.flatten(1))
    wide = z.double()
    mean = wide.mean(dim=1)  # [N, D]
    within = (wide - mean[:, None]).flatten(0, 1)  # [N*V, D]
    between = mean - mean.mean(dim=0)  # [N, D]
    energy, axes = torch.linalg.eigh(within.mT @ within / len(within))  # [D], [D, D]
    whitened = between @ (axes * (energy.clamp_min(0) + delta).rsqrt())  # [N, D]: the same spectrum as Sw^-1/2 does
    found = torch.linalg.eigvalsh(whitened.mT @ whitened / len(whitened)).clamp_min(0)  # [D]
    p = found / found.sum().clamp_min(torch.finfo(torch.float64).tiny) + epsilon
    return (-(p * p.log()).sum()).exp().clamp(1, len(found)).float()


def norm_outliers(z: Tensor, threshold: float = 6.0) -> Tensor:
    """[N] bool, True where the length of a feature vector is far from the usual one.

    Far: more than `threshold` robust standard deviations (1.4826 times the median absolute deviation) from the median.

    Args:
        z: [N, D].
    Raises:
        ValueError: no sample, or features that are not finite.
    """
    _check_finite(z)
    length = z.float().norm(dim=1)  # [N]
    median = length.median()
    distance = (length - median).abs()  # [N]
    usual = torch.maximum(1.4826 * distance.median(), 1e-6 * median)  # equal lengths differ by rounding only
    return distance > threshold * usual


def _energies(z: Tensor) -> Tensor:
    """[N, D] -> [K] eigenvalues of the covariance in float64, largest first."""
    _check_finite(z)
    centered = z.double() - z.double().mean(dim=0)  # [N, D]
    gram = centered.mT @ centered if z.shape[1] <= z.shape[0] else centered @ centered.mT  # [K, K]
    return torch.linalg.eigvalsh(gram).flip(0).clamp_min(0) / len(z)


def _check_finite(z: Tensor) -> None:
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"features must be [N, D] with at least one sample and one dimension; got {list(z.shape)}")
    bad = int((~z.isfinite()).any(dim=1).sum())
    if bad:
        raise ValueError(f"{bad} of {len(z)} rows of the features hold NaN or infinity; check the encoder's weights")
