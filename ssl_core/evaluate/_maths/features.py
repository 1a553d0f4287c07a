"""What the probes share before any maths: checked inputs, scaled features, keyed order within classes.

Shapes: N train samples, M test samples, D feature width, C classes.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_core.evaluate.base import Labelled
from ssl_core.noise import keyed_permutation


def count_classes(train: Labelled, test: Labelled) -> int:
    """C, one more than the largest label of either split, once both splits are fit to be scored.

    A class that train lacks stays a class: its test samples can only be scored as wrong.

    Raises:
        ValueError: shapes that disagree, an empty split, features that are not finite, negative
            labels, or a train split of one class only.
    """
    for name, split in (("train", train), ("test", test)):
        shape = tuple(split.features.shape)
        if len(shape) != 2 or split.label.shape != shape[:1]:
            raise ValueError(
                f"{name} needs features [N, D] and labels [N]; got {list(shape)} and {list(split.label.shape)}"
            )
        if 0 in shape:
            raise ValueError(f"the {name} split is empty: its features have shape {list(shape)}")
        bad = int((~split.features.isfinite()).any(dim=1).sum())
        if bad:
            raise ValueError(
                f"{bad} of {shape[0]} rows of the {name} features hold NaN or infinity; check the encoder's weights"
            )
        if int(split.label.min()) < 0:
            raise ValueError(f"{name} labels must be 0..C-1; the smallest is {int(split.label.min())}")
    if train.features.shape[1] != test.features.shape[1]:
        raise ValueError(
            f"train and test features differ in width: {train.features.shape[1]} and {test.features.shape[1]}"
        )
    first = int(train.label[0])
    if bool((train.label == first).all()):
        raise ValueError(f"the train split holds one class only (label {first}); a probe needs at least two")
    return int(torch.maximum(train.label.max(), test.label.max())) + 1


def standardized(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """[N, D] and [M, D] with each dimension at mean 0 and std 1 over train; constant dimensions become 0."""
    mean, std = train.mean(dim=0), train.std(dim=0, correction=0)  # [D]
    constant = std <= 1e-6 * mean.abs()  # what float32 rounding leaves of a constant
    scale = torch.where(constant, 0.0, 1.0 / std.masked_fill(constant, 1.0))  # [D]
    return (train - mean) * scale, (test - mean) * scale


def centered_unit(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """[N, D] and [M, D] less the mean of train, each row then scaled to length 1 (a zero row stays 0)."""
    mean = train.mean(dim=0)  # [D]
    return normalize(train - mean, dim=1), normalize(test - mean, dim=1)


def place_in_class(label: Tensor, salt: int) -> Tensor:
    """[N] int64: each sample's place (0, 1, ...) among those of its class, in an order keyed by salt.

    `place < n` draws n samples of every class, and the draw for a smaller n lies inside it.
    """
    by_class = _by_class(label, salt)
    counts = torch.bincount(label)  # [C]
    start = counts.cumsum(0) - counts  # [C] where each class starts in by_class
    place = torch.empty_like(label)
    place[by_class] = torch.arange(len(label), device=label.device) - start[label[by_class]]
    return place


def stratified_slice(label: Tensor, every: int, salt: int) -> Tensor:
    """[N] bool, True for one sample in `every`, spread over the classes as evenly as counts allow.

    Systematic sampling: shuffle by salt, sort by class, take each `every`-th; never empty, never all
    of two or more samples.
    """
    held_out = torch.zeros_like(label, dtype=torch.bool)
    held_out[_by_class(label, salt)[min(every // 2, len(label) - 1) :: every]] = True
    return held_out


def _by_class(label: Tensor, salt: int) -> Tensor:
    """[N] indices that sort by label, shuffled by salt within each class."""
    shuffled = torch.from_numpy(keyed_permutation(len(label), salt)).to(label.device)  # [N]
    return shuffled[label[shuffled].argsort(stable=True)]
