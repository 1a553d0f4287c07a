"""Scores per class from predictions: where an encoder is right, and what it takes for what.

Shapes: M samples, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_core.measures.statistics import resample_weights


@dataclass(frozen=True)
class PerClass:
    """Precision, recall and F1 of each class. A ratio with nothing below its line is 0, as in scikit-learn."""

    confusion: Tensor
    """[C, C] int64: row is the true class, column the predicted one."""
    precision: Tensor
    """[C] float64: of the samples given this class, the share that have it."""
    recall: Tensor
    """[C] float64: of the samples of this class, the share that were given it."""
    f1: Tensor
    """[C] float64: harmonic mean of both."""
    support: Tensor
    """[C] int64: samples of this class."""

    @property
    def accuracy(self) -> float:
        return int(self.confusion.diagonal().sum()) / int(self.support.sum())


def per_class(predicted: Tensor, label: Tensor, num_classes: int) -> PerClass:
    """Compare predictions with labels.

    Args:
        predicted, label: [M] int64 in 0..num_classes-1.
    Raises:
        ValueError: no samples, different lengths, or a class out of range.
    """
    if predicted.ndim != 1 or predicted.shape != label.shape or not len(label):
        raise ValueError(
            f"predictions and labels must be [M] of one length > 0; got {list(predicted.shape)}, {list(label.shape)}"
        )
    for name, values in (("predictions", predicted), ("labels", label)):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= num_classes:
            raise ValueError(f"{name} must be 0..{num_classes - 1}; they span {low} to {high}")
    flat = torch.bincount(label * num_classes + predicted, minlength=num_classes**2)
    confusion = flat.view(num_classes, num_classes)
    hits, given, support = confusion.diagonal(), confusion.sum(dim=0), confusion.sum(dim=1)  # [C] each
    return PerClass(
        confusion=confusion,
        precision=hits.double() / given.clamp_min(1),
        recall=hits.double() / support.clamp_min(1),
        f1=2 * hits.double() / (given + support).clamp_min(1),
        support=support,
    )


def macro_f1(predicted: Tensor, label: Tensor, weight: Tensor | None = None) -> float:
    """Unweighted mean of the classes' F1, over those that have samples: in [0, 1].

    Args:
        predicted, label: [M] int64 >= 0.
        weight: [M] float64, how often each sample counts; None: once.
    """
    weight = torch.ones_like(label, dtype=torch.float64) if weight is None else weight
    num_classes = int(torch.maximum(predicted.max(), label.max())) + 1
    hits, given, support = _counts(predicted, label, weight, num_classes)
    f1 = 2 * hits / (given + support).clamp_min(1)
    return float(f1[support > 0].mean())


def class_intervals(
    predicted: Tensor, label: Tensor, num_classes: int, seed: int, resamples: int, confidence: float = 0.95
) -> dict[str, Tensor]:
    """The interval of each class's precision, recall and f1 over bootstrap resamples of the samples.

    A resample without a sample of a class, or without a guess of it, says nothing about its recall or precision.

    Args:
        predicted, label: [M] int64 in 0..num_classes-1.
        resamples: 0: no intervals.
    Returns: `precision`, `recall`, `f1` -> [C, 2] float64, the lower and the upper end; 0 where no resample says.
    """
    rows = [
        _counts(predicted, label, weight, num_classes)
        for part in resample_weights(len(label), seed, resamples)
        for weight in torch.from_numpy(part)
    ]
    if not rows:
        return {}
    hits, given, support = (torch.stack(column) for column in zip(*rows, strict=True))  # [R, C] each
    ratios = {"precision": hits / given, "recall": hits / support, "f1": 2 * hits / (given + support)}
    ends = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    return {name: ratio.nanquantile(ends, dim=0).mT.nan_to_num(0.0) for name, ratio in ratios.items()}


def _counts(predicted: Tensor, label: Tensor, weight: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Samples of each class that are right, that were given it, and that have it: [C] float64 each."""
    right = predicted == label  # [M]
    hits = torch.bincount(label[right], weight[right], minlength=num_classes)
    given, support = (torch.bincount(of, weight, minlength=num_classes) for of in (predicted, label))
    return hits, given, support
