"""What linear probes share: the choice of an L2 strength on a slice of train, and predictions in flat memory.

Shapes: N samples, D feature width, C classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_core.evaluate._features import stratified_slice
from ssl_core.evaluate._logistic import accuracy, fit_logistic
from ssl_core.noise import salt

_BLOCK = 1 << 24  # logits held at once: 64 MB of float32


class Chosen(NamedTuple):
    """The strength that reads the held-out slice best, and the classifier that showed it."""

    l2: float
    weight: Tensor  # [D, C] fitted without the slice
    bias: Tensor  # [C]
    held: Tensor  # [N] bool, the slice


class Predicted(NamedTuple):
    """The likeliest class of each sample."""

    label: Tensor  # [N] int64
    confidence: Tensor  # [N] its probability


def choose_l2(
    x: Tensor, label: Tensor, num_classes: int, strengths: Sequence[float], holdout_every: int, seed: int
) -> Chosen:
    """Fit every strength at once on all but one sample in `holdout_every`; of equals the strongest is chosen."""
    held = stratified_slice(label, holdout_every, salt(seed))  # [N]
    ordered = sorted(strengths, reverse=True)  # strongest first: argmax breaks ties towards it
    candidates = fit_logistic(x[~held][None], label[~held][None], num_classes, ordered)
    best = int(accuracy(candidates, x[held], label[held])[0].argmax())
    return Chosen(ordered[best], candidates.weight[0, best], candidates.bias[0, best], held)


def predict(x: Tensor, weight: Tensor, bias: Tensor) -> Predicted:
    """[N, D] features under softmax(x weight + bias), weight [D, C] and bias [C]."""
    found = [torch.addmm(bias, rows, weight).softmax(dim=1).max(dim=1) for rows in x.split(max(1, _BLOCK // len(bias)))]
    return Predicted(torch.cat([f.indices for f in found]), torch.cat([f.values for f in found]))
