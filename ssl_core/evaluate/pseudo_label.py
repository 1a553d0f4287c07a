"""Pseudo-labels: a classifier on few labels labels the rest of train where it is sure, and is fitted again.

Lee 2013, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks"
(ICML workshop), with a linear probe on frozen features as the classifier and one round.

Shapes: N train samples, n labelled ones, U the others, D feature width, C classes.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ssl_core.config import NamedConfig
from ssl_core.evaluate._maths.features import centered_unit, count_classes, place_in_class
from ssl_core.evaluate._maths.linear import predict
from ssl_core.evaluate._maths.logistic import fit_logistic
from ssl_core.evaluate.base import Labelled, Probe, Score, mean_score
from ssl_core.measures.measure import FRACTION, SHARE, Measure
from ssl_core.noise import salt

_TOLERANCE = 1e-5  # nats; nine fits by default, whose labels are less exact than that


class PseudoLabel(Probe):
    """Few labels, then the classifier's own confident ones: accuracy and coverage against confidence."""

    version: ClassVar[int] = 1
    measures: ClassVar[Mapping[str, Measure]] = {
        "pseudo_label_*_top1": FRACTION,
        "pseudo_label_*_coverage": SHARE,
        "pseudo_label_*_precision": SHARE,
    }

    class Config(NamedConfig):
        name: Literal["pseudo_label"] = "pseudo_label"
        per_class: PositiveInt = 5
        """Labelled samples per class; as many as the smallest class of train has, where that is fewer."""
        confidence: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field((0.5, 0.7, 0.9), min_length=1)
        """Thresholds on the probability of the likeliest class; one fit and one set of scores each."""
        draws: PositiveInt = 3
        """Random choices of the labelled samples, the first ones of few_label: scores are their means."""
        inverse_l2: PositiveFloat = 100.0
        """scikit-learn's C of both fits."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def protocol(self) -> str:
        c = self.config
        thresholds = ", ".join(f"{t:g}" for t in c.confidence)
        return (
            f"pseudo_label v{self.version}: logistic regression (C = {c.inverse_l2:g}) on centered, L2-normalized "
            f"features, {c.per_class} labels per class (or all of the smallest class), fitted again with its own "
            f"labels on the train samples above confidence {thresholds}; mean of {c.draws} draws"
        )

    @property
    def score_names(self) -> tuple[str, ...]:
        heads = [f"pseudo_label_t{100 * threshold:g}" for threshold in self.config.confidence]
        kinds = ("top1", "coverage", "precision")
        return ("pseudo_label_start_top1", *(f"{head}_{kind}" for head in heads for kind in kinds))

    def measure(self, train: Labelled, test: Labelled, seed: int) -> dict[str, Score]:
        """Per threshold of t %: `pseudo_label_t.._top1` on test after the second fit, `_coverage` of the unlabelled
        train samples, and `_precision`, the share of the given labels that are right (absent where none was given).
        `pseudo_label_start_top1` is the first fit's accuracy.

        Raises:
            ValueError: splits that cannot be scored; see `count_classes`.
        """
        num_classes, c = count_classes(train, test), self.config
        x, x_test = centered_unit(train.features.float(), test.features.float())  # [N, D], [M, D]
        counts = torch.bincount(train.label)
        quota = min(c.per_class, int(counts[counts > 0].min()))
        start: list[Tensor] = []
        again: dict[float, list[Tensor]] = {threshold: [] for threshold in c.confidence}
        asked = torch.zeros(len(x), dtype=torch.float64)  # [N], in how many draws a sample had no label
        given, right = ({threshold: torch.zeros_like(asked) for threshold in c.confidence} for _ in range(2))
        for draw in range(c.draws):
            labelled = place_in_class(train.label, salt(seed, draw)) < quota  # [N]
            weight, bias = self._fit(x[labelled], train.label[labelled], num_classes)
            start.append(predict(x_test, weight, bias).label == test.label)
            guess, sure = predict(x, weight, bias)  # [N] each
            asked += (~labelled).double()
            for threshold in c.confidence:
                added = ~labelled & (sure >= threshold)  # [N]
                given[threshold] += added.double()
                right[threshold] += (added & (guess == train.label)).double()
                used = labelled | added
                label = torch.where(labelled, train.label, guess)[used]
                second = self._fit(x[used], label, num_classes) if bool(added.any()) else (weight, bias)
                again[threshold].append(predict(x_test, *second).label == test.label)
        scores = {"pseudo_label_start_top1": _over_draws(start)}
        for threshold in c.confidence:
            name = f"pseudo_label_t{100 * threshold:g}"
            scores[f"{name}_top1"] = _over_draws(again[threshold])
            scores[f"{name}_coverage"] = _share(given[threshold], asked)
            if given[threshold].any():
                scores[f"{name}_precision"] = _share(right[threshold], given[threshold])
        return scores

    def _fit(self, x: Tensor, label: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """[n, D] and [n] -> weight [D, C] and bias [C]."""
        l2 = 1 / (self.config.inverse_l2 * len(x))
        fitted = fit_logistic(x[None], label[None], num_classes, [l2], tolerance=_TOLERANCE)
        return fitted.weight[0, 0], fitted.bias[0, 0]


def _share(part: Tensor, whole: Tensor) -> Score:
    """Of all draws together; from [N] each, in how many draws a train sample counted."""

    def reweighted(weight: Tensor) -> float:
        return float(weight @ part) / max(float(weight @ whole), 1.0)

    return Score(reweighted(torch.ones_like(whole)), reweighted=reweighted, over=len(whole))


def _over_draws(hits: list[Tensor]) -> Score:
    """Mean over draws of an accuracy, from [M] bool each."""
    return mean_score(torch.stack(hits).double().mean(dim=0))
