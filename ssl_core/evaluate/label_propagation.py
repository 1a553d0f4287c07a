"""Label propagation: few labels, spread over the neighbor graph of the features.

Zhou et al. 2004, "Learning with local and global consistency" (NeurIPS 16).

Shapes: N train samples, M test samples, S settings of P draws each, D feature width, C classes.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch.nn.functional import normalize, one_hot

from ssl_core.config import NamedConfig
from ssl_core.evaluate._maths.features import count_classes, place_in_class
from ssl_core.evaluate._maths.graph import neighbor_graph, spread, weighted
from ssl_core.evaluate.base import Labelled, Probe, Score, averaged, averaged_names, mean_score
from ssl_core.evaluate.knn import neighbors
from ssl_core.measures.measure import FRACTION, SHARE, Measure
from ssl_core.noise import salt


class LabelPropagation(Probe):
    """A few labels per class spread over the graph of all train features, read at the test samples."""

    version: ClassVar[int] = 1
    measures: ClassVar[Mapping[str, Measure]] = {
        "label_propagation_*_top1": FRACTION,
        "label_propagation_*_top1_std": SHARE,
        "label_propagation_*_coverage": SHARE,
    }

    class Config(NamedConfig):
        name: Literal["label_propagation"] = "label_propagation"
        per_class: tuple[PositiveInt, ...] = Field((1, 5, 10), min_length=1)
        """Labelled samples per class; a setting that some class of train cannot fill is left out."""
        draws: PositiveInt = 3
        """Random choices of the labelled samples per setting, the first ones of few_label: the score is their mean."""
        neighbors: PositiveInt = 15
        """Edges that each sample starts."""
        temperature: PositiveFloat = 0.07
        """An edge weighs exp((cosine similarity - 1) / temperature)."""
        alpha: float = Field(0.99, gt=0, lt=1)
        """Share of a sample's score that comes from its neighbors (Zhou et al., section 4)."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def protocol(self) -> str:
        c = self.config
        return (
            f"label_propagation v{self.version}: {', '.join(f'{n} per class' for n in c.per_class)} of the labels "
            f"where every class has enough, spread (alpha = {c.alpha:g}) over the cosine graph of train "
            f"(k = {c.neighbors}, weights exp((similarity - 1) / {c.temperature:g})), test reads its k neighbors; "
            f"mean and std of {c.draws} draws"
        )

    @property
    def score_names(self) -> tuple[str, ...]:
        heads = [f"label_propagation_n{n}" for n in self.config.per_class]
        return tuple(name for h in heads for name in (*averaged_names(f"{h}_top1", self.config.draws), f"{h}_coverage"))

    def measure(self, train: Labelled, test: Labelled, seed: int) -> dict[str, Score]:
        """Mean top-1 accuracy per setting, `_std`, its spread over draws (two draws or more), and `_coverage`.

        Coverage is the share of test that a label reaches; a sample that none reaches counts as wrong.

        Raises:
            ValueError: splits that cannot be scored; see `count_classes`.
        """
        num_classes, c = count_classes(train, test), self.config
        unit = normalize(train.features.float(), dim=1)  # [N, D]
        graph = neighbor_graph(unit, c.neighbors, c.temperature)
        links = weighted(*neighbors(train, test, min(c.neighbors, len(unit))), c.temperature)
        place = torch.stack([place_in_class(train.label, salt(seed, d)) for d in range(c.draws)], dim=1)  # [N, P]
        counts = torch.bincount(train.label)
        smallest = int(counts[counts > 0].min())
        settings = [n for n in c.per_class if n <= smallest]
        labelled = torch.stack([place < n for n in settings], dim=1)  # [N, S, P]
        seeds = labelled[..., None] * one_hot(train.label, num_classes).float()[:, None, None]  # [N, S, P, C]
        reached = spread(graph, links, seeds.flatten(1), c.alpha).unflatten(1, seeds.shape[1:])  # [M, S, P, C]
        best, found = reached.max(dim=3)  # [M, S, P]
        covered = best > 0  # [M, S, P]
        hits = (found == test.label[:, None, None]) & covered  # [M, S, P]
        scores: dict[str, Score] = {}
        for n, right, there in zip(settings, hits.unbind(dim=1), covered.unbind(dim=1), strict=True):  # [M, P] each
            scores |= averaged(f"label_propagation_n{n}_top1", right)
            scores[f"label_propagation_n{n}_coverage"] = mean_score(there.double().mean(dim=1))
        return scores
