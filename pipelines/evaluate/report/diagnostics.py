"""Pictures of what an evaluation found out: collapse of the features, confusions, what corruptions do.

Shapes: M test samples, D feature width, C classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.evaluate.report.class_text import class_text
from pipelines.evaluate.report.plots import GREY, INK, MUTED, new_figure, save
from pipelines.evaluate.report.text import Scores
from pipelines.evaluate.tasks._robustness_table import Robustness
from ssl_core.measures.health import norm_outliers, spectrum

NAMED = 30
"""Classes up to which a confusion matrix names them."""
TICK_NAME = 24
"""Characters of a class name beside a confusion matrix."""
COMPARED = 2000
"""Samples whose pairs are shown."""
FLOOR = 1e-6
"""Share of the singular values below which a direction counts as unused."""


def draw(scores: Scores, features: Mapping[str, FeatureSet], folder: Path) -> dict[str, str]:
    """Write the pictures into `folder`; returns caption -> file name."""
    sides = {name: features[name].load("test")[0] for name in ("encoder", "random_init") if name in features}
    collapse(sides, folder / "collapse.png")
    figures = {"Dimensional collapse": "collapse.png"}
    if scores.confusion:
        names = [row.name for row in scores.per_class]
        confusion(np.array(scores.confusion), names, folder / "confusion.png", f"Confusions ({scores.predicted_by})")
        figures["Confusions"] = "confusion.png"
    if scores.robustness:
        corruptions(scores.robustness, folder / "robustness.png")
        figures["Accuracy under corruption"] = "robustness.png"
    return figures


def collapse(sides: Mapping[str, Tensor], path: Path) -> None:
    """Three panels: the spectrum, the similarity of different samples, the lengths of the features.

    Args:
        sides: `encoder` and, for comparison, `random_init` -> [M, D].
    """
    figure = new_figure(12, 3.8, "Dimensional collapse")
    left, middle, right = (figure.add_subplot(1, 3, i) for i in (1, 2, 3))
    styles = {"encoder": (MUTED[0], "-"), "random_init": (MUTED[1], "--")}
    for name, z in sides.items():
        color, line = styles[name]
        said = name.replace("_", "-")
        share = spectrum(z).numpy()  # [K]
        shown = np.maximum(share, FLOOR)
        left.plot(np.arange(1, len(shown) + 1), shown, color=color, linestyle=line, label=said)
        if len(z) > 1:
            pairs = _similarities(z)
            middle.hist(pairs, bins=60, range=(-1, 1), density=True, histtype="step", color=color, linestyle=line)
    left.set(xscale="log", yscale="log", ylim=(FLOOR, 2), xlabel="rank", title="Singular values over their sum")
    left.legend(frameon=False, fontsize=9)
    middle.set(xlabel="cosine similarity", title="Pairs of different samples", yticks=[])
    z = sides["encoder"]
    length, odd = z.norm(dim=1).numpy(), norm_outliers(z).numpy()  # [M] each
    bins = np.histogram_bin_edges(length, 50).tolist()
    right.hist(length[~odd], bins=bins, color=GREY, label="usual")
    if odd.any():
        right.hist(length[odd], bins=bins, color=MUTED[1], label=f"{int(odd.sum())} outliers")
        right.legend(frameon=False, fontsize=9)
    right.set(xlabel="length of a feature vector", title="Lengths", yticks=[])
    for axes in (left, middle, right):
        axes.title.set(fontsize=10, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    save(figure, path)


def corruptions(found: Robustness, path: Path) -> None:
    """One panel per corruption: accuracy against severity, beside the clean accuracy (dashed)."""
    columns = min(5, len(found.top1))
    num_rows = -(-len(found.top1) // columns)
    figure = new_figure(max(4.0, 2.4 * columns), 2.2 * num_rows + 0.6, "Linear probe under corruption")
    for position, (kind, values) in enumerate(found.top1.items()):
        axes = figure.add_subplot(num_rows, columns, position + 1)
        axes.axhline(found.clean, color=GREY, linestyle="--", linewidth=1)
        axes.plot(found.severities, values, color=MUTED[0], marker="o", markersize=3)
        axes.set(ylim=(0, 1.02), xticks=found.severities)
        axes.set_title(kind.replace("_", " "), fontsize=9, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7, labelleft=position % columns == 0)
        if position >= len(found.top1) - columns:
            axes.set_xlabel("severity", fontsize=8)
    save(figure, path)


def confusion(table: NDArray[np.int64], names: Sequence[str], path: Path, title: str) -> None:
    """Each row is a true class, shaded by the share of it that was given each class.

    Args:
        table: [C, C] counts, true class by row.
    """
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)  # [C, C]
    named = len(names) <= NAMED
    shown = [class_text(number, names, TICK_NAME) for number in range(len(names))]
    wide = max(map(len, shown), default=0) - 8  # long names take room from the matrix on both sides
    side = 2.5 + (0.42 * len(names) + 0.12 * max(0, wide) if named else 6)
    figure = new_figure(side, side, title)
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted class", ylabel="true class")
    if named:
        axes.set_xticks(range(len(names)), shown, rotation=90, fontsize=8)
        axes.set_yticks(range(len(names)), shown, fontsize=8)
        for row, column in zip(*np.nonzero(share >= 0.005), strict=True):
            color = "white" if share[row, column] > 0.6 else INK
            text = f"{100 * share[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
        axes.set_xlabel("predicted class; numbers are per cent of the true class")
    save(figure, path)


def _similarities(z: Tensor) -> NDArray[np.float32]:
    """Cosine similarities of all pairs of up to 2,000 samples spread over [M, D]."""
    unit = normalize(z[:: -(-len(z) // COMPARED)].float(), dim=1)  # [m, D]
    row, column = torch.triu_indices(len(unit), len(unit), offset=1)
    return np.asarray((unit @ unit.mT)[row, column].numpy())
