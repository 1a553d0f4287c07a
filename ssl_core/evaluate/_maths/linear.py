"""What linear probes share: the choice of an L2 strength on a slice of train, and predictions in flat memory.

Shapes: N samples, D feature width, C classes.
"""

from collections.abc import Hashable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ssl_core.evaluate._maths.features import standardized, stratified_slice
from ssl_core.evaluate._maths.logistic import accuracy, fit_logistic
from ssl_core.evaluate.base import Labelled
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


_CHOSEN: WeakKeyDictionary[Labelled, dict[Hashable, Chosen]] = WeakKeyDictionary()


def choose_l2(train: Labelled, num_classes: int, strengths: tuple[float, ...], holdout_every: int, seed: int) -> Chosen:
    """Fit every strength at once on all but one sample in `holdout_every`; of equals the strongest is chosen.

    Features are standardized over all of train. Two probes that ask the same of one split have it fitted once.
    """
    kept, asked = _CHOSEN.setdefault(train, {}), (num_classes, strengths, holdout_every, seed)
    if asked not in kept:
        x, _ = standardized(train.features.float(), train.features[:0].float())  # [N, D]
        held = stratified_slice(train.label, holdout_every, salt(seed))  # [N]
        ordered = sorted(strengths, reverse=True)  # strongest first: argmax breaks ties towards it
        candidates = fit_logistic(x[~held][None], train.label[~held][None], num_classes, ordered)
        best = int(accuracy(candidates, x[held], train.label[held])[0].argmax())
        kept[asked] = Chosen(ordered[best], candidates.weight[0, best], candidates.bias[0, best], held)
    return kept[asked]


def predict(x: Tensor, weight: Tensor, bias: Tensor) -> Predicted:
    """[N, D] features under softmax(x weight + bias), weight [D, C] and bias [C]."""
    found = [torch.addmm(bias, rows, weight).softmax(dim=1).max(dim=1) for rows in x.split(max(1, _BLOCK // len(bias)))]
    return Predicted(torch.cat([f.indices for f in found]), torch.cat([f.values for f in found]))
