"""The linear probe: how well one linear layer reads the classes from frozen features.

Shapes: N train samples, M test samples, D feature width.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat
from torch import Tensor

from ssl_core.config import NamedConfig
from ssl_core.evaluate._maths.features import count_classes, standardized
from ssl_core.evaluate._maths.linear import choose_l2, predict
from ssl_core.evaluate._maths.logistic import fit_logistic
from ssl_core.evaluate._maths.per_class import macro_f1
from ssl_core.evaluate.base import Labelled, Probe, Score, mean_score
from ssl_core.measures.measure import FRACTION, Measure


class LinearProbe(Probe):
    """Logistic regression on all labels; the L2 strength is chosen on a slice of train."""

    version: ClassVar[int] = 1
    measures: ClassVar[Mapping[str, Measure]] = {"linear_top1": FRACTION, "linear_macro_f1": FRACTION}

    class Config(NamedConfig):
        name: Literal["linear_probe"] = "linear_probe"
        l2: tuple[PositiveFloat, ...] = Field(tuple(10 ** (-i / 2) for i in range(13)), min_length=1)
        """L2 strengths to choose from, on the scale of the mean loss: 1 / (N * C) in scikit-learn's terms."""
        holdout_every: int = Field(10, ge=2)
        """One train sample in this many is held out to choose the strength."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def protocol(self) -> str:
        low, high = min(self.config.l2), max(self.config.l2)
        return (
            f"linear_probe v{self.version}: logistic regression on standardized features; L2 out of "
            f"{len(self.config.l2)} strengths ({low:g} to {high:g}) chosen on 1/{self.config.holdout_every} of train, "
            "refitted on all of train"
        )

    @property
    def score_names(self) -> tuple[str, ...]:
        return ("linear_top1", "linear_macro_f1")

    def measure(self, train: Labelled, test: Labelled, seed: int) -> dict[str, Score]:
        """Top-1 accuracy and macro F1 on test; `seed` keys which part of train chooses the strength.

        Raises:
            ValueError: splits that cannot be scored; see `count_classes`.
        """
        found = self.predict(train, test, seed)  # [M]

        def f1(weight: Tensor | None = None) -> float:
            return macro_f1(found, test.label, weight)

        return {"linear_top1": mean_score(found == test.label, found), "linear_macro_f1": Score(f1(), reweighted=f1)}

    def predict(self, train: Labelled, test: Labelled, seed: int) -> Tensor:
        """The class of each test sample that `linear_top1` scores: [M] int64. Raises as `measure` does."""
        num_classes = count_classes(train, test)
        x, x_test = standardized(train.features.float(), test.features.float())  # [N, D], [M, D]
        chosen = choose_l2(train, num_classes, self.config.l2, self.config.holdout_every, seed)
        final = fit_logistic(x[None], train.label[None], num_classes, [chosen.l2])
        return predict(x_test, final.weight[0, 0], final.bias[0, 0]).label
