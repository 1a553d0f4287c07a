"""Multinomial logistic regression: many problems and strengths solved as one batched tensor program.

For each of P problems and S strengths, minimize over W [D, C] and b [C]

    mean_i cross_entropy(label_i, x_i W + b) + l2 / 2 * |W|^2.

The Hessian never exceeds half the covariance of x plus l2 (Boehning 1992, "Multinomial logistic
regression algorithm", Annals of the Institute of Statistical Mathematics 44), so gradient steps
divided by that bound descend without a line search or a learning rate. Along the principal axes of
x the bound is diagonal for every strength at once. Nesterov's momentum, restarted per problem
whenever it points uphill (O'Donoghue & Candes 2015, gradient scheme), does the rest.

Shapes: P problems, N samples each, D feature width, K = min(N, D) principal axes, S strengths,
C classes, M test samples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

_BLOCK = 1 << 24  # logits held at once: 64 MB of float32


class Classifier(NamedTuple):
    weight: Tensor  # [P, S, D, C]
    bias: Tensor  # [P, S, C]


def fit_logistic(
    features: Tensor,
    label: Tensor,
    num_classes: int,
    l2: Sequence[float],
    *,
    max_steps: int = 300,
    tolerance: float = 1e-6,
) -> Classifier:
    """Solve P x S problems together; deterministic, starts at zero.

    Args:
        features: [P, N, D] float32.
        label: [P, N] int64 in 0..num_classes-1.
        l2: S strengths > 0, on the scale of the mean loss: scikit-learn's C is 1 / (N * l2).
        max_steps: gradient steps at most; weak strengths on separable data stop here.
        tolerance: stop once no problem's next step promises to lower its objective by more, in nats.
    """
    mean = features.mean(dim=1, keepdim=True)  # [P, 1, D]
    axes = _principal_axes(features - mean)  # [P, D, K]
    inputs = torch.cat([(features - mean) @ axes, features.new_ones(*label.shape, 1)], dim=2)  # [P, N, K+1]
    strength = features.new_tensor(l2).view(1, 1, 1, -1)  # [1, 1, 1, S]
    penalty = strength.expand(1, inputs.shape[2], -1, -1).clone()  # [1, K+1, 1, S]
    penalty[:, -1] = 0  # the bias is free
    energy = inputs.square().mean(dim=1)[:, :, None, None]  # [P, K+1, 1, 1]
    bound = (energy / 2).clamp_min(1e-7) + penalty  # [P, K+1, 1, S]

    point = inputs.new_zeros(len(inputs), inputs.shape[2], num_classes, len(l2))  # [P, K+1, C, S]
    ahead, age = point, torch.ones_like(bound[:, :1])  # momentum looks ahead; age [P, 1, 1, S] since its restart
    for step in range(max_steps):
        gradient = _loss_gradient(inputs, label, ahead) + penalty * ahead  # [P, K+1, C, S]
        if step % 10 == 0 and float((gradient.square() / bound).sum(dim=(1, 2)).max()) / 2 < tolerance:
            break
        new = ahead - gradient / bound
        uphill = (gradient * (new - point)).sum(dim=(1, 2), keepdim=True) > 0  # [P, 1, 1, S]
        next_age = torch.where(uphill, 1.0, (1 + (1 + 4 * age.square()).sqrt()) / 2)
        momentum = torch.where(uphill, 0.0, (age - 1) / next_age)
        ahead, point, age = new + momentum * (new - point), new, next_age

    weight = torch.einsum("pdk,pkcs->psdc", axes, point[:, :-1])  # [P, S, D, C]
    bias = point[:, -1].mT - torch.einsum("pd,psdc->psc", mean[:, 0], weight)  # [P, S, C]
    return Classifier(weight, bias)


def accuracy(classifier: Classifier, features: Tensor, label: Tensor) -> Tensor:
    """Share of [M, D] features whose largest logit is at [M] label: [P, S] float64, each in [0, 1]."""
    return hits(classifier, features, label).sum(dim=0).double() / len(label)


def hits(classifier: Classifier, features: Tensor, label: Tensor) -> Tensor:
    """Whether the largest logit of each of [M, D] features is at its [M] label: [M, P, S] bool."""
    bias = classifier.bias
    weight = classifier.weight.permute(2, 0, 1, 3).flatten(1)  # [D, P*S*C]
    rows = max(1, _BLOCK // bias.numel())
    found = [
        ((x @ weight).unflatten(1, bias.shape) + bias).argmax(dim=-1) == y[:, None, None]  # of [rows, P, S, C]
        for x, y in zip(features.split(rows), label.split(rows), strict=True)
    ]
    return torch.cat(found)


def _principal_axes(centered: Tensor) -> Tensor:
    """[P, N, D] -> [P, D, K] orthonormal directions that span the rows (zero where rows span fewer)."""
    _, num_samples, width = centered.shape
    if width <= num_samples:
        gram = centered.mT @ centered  # [P, D, D]
        return torch.linalg.eigh(gram.double()).eigenvectors.float()
    exact = centered.double()
    energy, left = torch.linalg.eigh(exact @ exact.mT)  # [P, N], [P, N, N]: the smaller of the two Gram matrices
    spanned = energy > 1e-10 * energy[:, -1:]  # [P, N]
    scale = torch.where(spanned, energy.clamp_min(1e-300).rsqrt(), 0.0)  # [P, N]
    return ((exact.mT @ left) * scale[:, None]).float()


def _loss_gradient(inputs: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the mean cross entropy in weight [P, K+1, C, S], summed over blocks of rows.

    Rows of inputs come last: with few classes and strengths the products are narrow, and MKL takes a third of the time
    for a narrow matrix times a wide one as for the transposes; so does softmax over any but the last dimension.
    """
    num_problems, num_samples, _ = inputs.shape
    classes, strengths = weight.shape[2:]
    flat = weight.flatten(2).mT.contiguous()  # [P, C*S, K+1]
    gradient = torch.zeros_like(flat)
    rows = max(1, _BLOCK // (num_problems * flat.shape[1]))
    for x, y in zip(inputs.split(rows, dim=1), label.split(rows, dim=1), strict=True):
        error = (flat @ x.mT).unflatten(1, (classes, strengths)).softmax(dim=1)  # [P, C, S, rows]
        error -= one_hot(y, classes).mT[:, :, None]
        gradient.baddbmm_(error.flatten(1, 2), x)
    return gradient.mT.unflatten(2, (classes, strengths)) / num_samples
