"""Few labels: what the encoder is worth when only a handful of samples are labelled.

Shapes: N train samples, n labelled ones per draw, P draws at once, D feature width, C classes.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ssl_core.config import NamedConfig
from ssl_core.evaluate._maths.features import centered_unit, count_classes, place_in_class
from ssl_core.evaluate._maths.logistic import fit_logistic, hits
from ssl_core.evaluate.base import Labelled, Probe, Score, averaged, averaged_names
from ssl_core.measures.measure import FRACTION, SHARE, Measure
from ssl_core.noise import salt

_BLOCK = 1 << 25  # labelled feature values held at once: 128 MB of float32


class FewLabel(Probe):
    """Logistic regression on n labels per class or a share of the labels, over several draws."""

    version: ClassVar[int] = 1
    measures: ClassVar[Mapping[str, Measure]] = {"few_label_*_top1": FRACTION, "few_label_*_top1_std": SHARE}

    class Config(NamedConfig):
        name: Literal["few_label"] = "few_label"
        per_class: tuple[PositiveInt, ...] = (1, 5, 10)
        """Labelled samples per class; a setting that some class of train cannot fill is left out."""
        percent: tuple[Annotated[float, Field(gt=0, le=100)], ...] = (1.0, 10.0)
        """Labelled share of each class in %; left out where it rounds to no sample of some class."""
        draws: PositiveInt = 10
        """Random choices of the labelled samples per setting: the score is their mean."""
        inverse_l2: PositiveFloat = 10.0
        """scikit-learn's C. Fixed, since few labels leave none to choose it on."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def protocol(self) -> str:
        settings = [f"{n} per class" for n in self.config.per_class] + [f"{p:g} %" for p in self.config.percent]
        return (
            f"few_label v{self.version}: logistic regression (C = {self.config.inverse_l2:g}) on centered, "
            f"L2-normalized features; {', '.join(settings)} of the labels where every class has enough; "
            f"mean and std of {self.config.draws} draws"
        )

    @property
    def score_names(self) -> tuple[str, ...]:
        settings = [f"n{n}" for n in self.config.per_class] + [f"p{p:g}" for p in self.config.percent]
        return tuple(n for s in settings for n in averaged_names(f"few_label_{s}_top1", self.config.draws))

    def measure(self, train: Labelled, test: Labelled, seed: int) -> dict[str, Score]:
        """Mean top-1 accuracy per setting, and `_std`, its spread over draws keyed by seed (two draws or more).

        Raises:
            ValueError: splits that cannot be scored; see `count_classes`.
        """
        num_classes = count_classes(train, test)
        x, x_test = centered_unit(train.features.float(), test.features.float())  # [N, D], [M, D]
        place = torch.stack([place_in_class(train.label, salt(seed, d)) for d in range(self.config.draws)])  # [P, N]
        scores: dict[str, Score] = {}
        for name, quota in self._quotas(train.label).items():
            labelled = place < quota[train.label]  # [P, N]
            index = labelled.nonzero()[:, 1].view(len(place), -1)  # [P, n]
            l2 = 1 / (self.config.inverse_l2 * index.shape[1])
            found = [  # a bounded number of draws at a time
                hits(fit_logistic(x[rows], train.label[rows], num_classes, [l2]), x_test, test.label)[..., 0]
                for rows in index.split(max(1, _BLOCK // x[index[0]].numel()))
            ]
            scores |= averaged(f"few_label_{name}_top1", torch.cat(found, dim=1))  # [M, P]
        return scores

    def _quotas(self, label: Tensor) -> dict[str, Tensor]:
        """Setting -> [C] labelled samples wanted of each class, for the settings that train can supply."""
        counts = torch.bincount(label)  # [C]
        present = counts > 0
        wanted = {f"n{n}": torch.full_like(counts, n) for n in self.config.per_class}
        wanted |= {f"p{p:g}": (counts * p / 100).round().long() for p in self.config.percent}
        return {s: q for s, q in wanted.items() if bool(((q >= 1) & (q <= counts))[present].all())}
