"""How well a clustering agrees with the classes, from the table of counts alone.

Shapes: M samples, K clusters, C classes.
"""

import torch
from torch import Tensor


def contingency(cluster: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """[K, C] float64: samples of cluster k and class c, from two [M] int64 tensors of numbers >= 0.

    Args:
        weight: [M] float64, how often each sample counts; None: once.
    """
    num_clusters, num_classes = int(cluster.max()) + 1, int(label.max()) + 1
    flat = torch.bincount(cluster * num_classes + label, weight, minlength=num_clusters * num_classes)
    return flat.view(num_clusters, num_classes).double()


def purity(table: Tensor) -> float:
    """Share of samples that are of their cluster's most frequent class: [K, C] -> number in (0, 1]."""
    return float(table.max(dim=1).values.sum() / table.sum())


def normalized_mutual_information(table: Tensor) -> float:
    """Mutual information over the mean of both entropies: [K, C] -> number in [0, 1].

    1 where both sides are a single group, as there is nothing to disagree on.
    """
    joint = table / table.sum()
    clusters, classes = joint.sum(dim=1), joint.sum(dim=0)  # [K], [C]
    mean_entropy = (_entropy(clusters) + _entropy(classes)) / 2
    shared = _entropy(clusters) + _entropy(classes) - _entropy(joint.flatten())
    return float((shared / mean_entropy).clamp(0, 1)) if mean_entropy > 0 else 1.0


def adjusted_rand_index(table: Tensor) -> float:
    """Share of sample pairs on which both sides agree, less what chance gives: [K, C] -> number in [-0.5, 1].

    Hubert & Arabie 1985, "Comparing partitions", Journal of Classification 2, equation 5.
    """
    total = table.sum()
    pairs, clusters, classes = (_pairs(t) for t in (table.flatten(), table.sum(dim=1), table.sum(dim=0)))
    expected = clusters * classes / (total * (total - 1) / 2).clamp_min(1)
    largest = (clusters + classes) / 2
    return float((pairs - expected) / (largest - expected)) if largest > expected else 1.0


def _pairs(counts: Tensor) -> Tensor:
    return (counts * (counts - 1) / 2).sum()


def _entropy(share: Tensor) -> Tensor:
    return -torch.xlogy(share, share).sum()
