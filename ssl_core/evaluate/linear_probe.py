"""The linear probe: how well one linear layer reads the classes from frozen features."""

from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat

from ssl_core.config import NamedConfig
from ssl_core.evaluate._features import count_classes, standardized, stratified_slice
from ssl_core.evaluate._logistic import accuracy, fit_logistic
from ssl_core.evaluate.base import Labelled, Probe
from ssl_core.noise import salt


class LinearProbe(Probe):
    """Logistic regression on all labels; the L2 strength is chosen on a slice of train."""

    version: ClassVar[int] = 1

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

    def __call__(self, train: Labelled, test: Labelled, seed: int) -> dict[str, float]:
        """Top-1 accuracy on test; `seed` keys which part of train chooses the strength.

        Raises:
            ValueError: splits that cannot be scored; see `count_classes`.
        """
        num_classes = count_classes(train, test)
        x, x_test = standardized(train.features.float(), test.features.float())  # [N, D], [M, D]
        held = stratified_slice(train.label, self.config.holdout_every, salt(seed))  # [N]
        strengths = sorted(self.config.l2, reverse=True)  # strongest first: argmax breaks ties towards it
        candidates = fit_logistic(x[~held][None], train.label[~held][None], num_classes, strengths)
        chosen = strengths[int(accuracy(candidates, x[held], train.label[held])[0].argmax())]
        final = fit_logistic(x[None], train.label[None], num_classes, [chosen])
        return {"linear_top1": float(accuracy(final, x_test, test.label))}
