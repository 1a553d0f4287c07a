"""Calibration: when the linear probe says 80 %, is it right 80 % of the time?

Shapes: N train samples, H of them held out, M test samples, D feature width, C classes.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ssl_core.config import NamedConfig
from ssl_core.evaluate._maths.features import count_classes, standardized
from ssl_core.evaluate._maths.linear import choose_l2, predict
from ssl_core.evaluate.base import Labelled, Probe, Score, mean_score
from ssl_core.measures.measure import ERROR, FRACTION, Measure

_COLDEST, _HOTTEST = 1e-3, 1e3


class Calibration(Probe):
    """Expected calibration error of the linear probe, as fitted and after temperature scaling (lower is better)."""

    version: ClassVar[int] = 1
    measures: ClassVar[Mapping[str, Measure]] = {
        "calibration_top1": FRACTION,
        "calibration_error": ERROR,
        "calibration_raw_error": ERROR,
    }

    class Config(NamedConfig):
        name: Literal["calibration"] = "calibration"
        bins: PositiveInt = 15
        """Confidence bins of equal width (Guo et al. 2017)."""
        l2: tuple[PositiveFloat, ...] = Field(tuple(10 ** (-i / 2) for i in range(13)), min_length=1)
        """L2 strengths to choose from, as in linear_probe."""
        holdout_every: int = Field(10, ge=2)
        """One train sample in this many is held out to choose the strength and the temperature."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def protocol(self) -> str:
        c = self.config
        return (
            f"calibration v{self.version}: logistic regression on standardized features of train less "
            f"1/{c.holdout_every}, which chooses the L2 out of {len(c.l2)} strengths ({min(c.l2):g} to {max(c.l2):g}) "
            f"and the temperature; expected calibration error on test in {c.bins} bins of equal width"
        )

    @property
    def score_names(self) -> tuple[str, ...]:
        return ("calibration_error", "calibration_raw_error", "calibration_top1")

    def measure(self, train: Labelled, test: Labelled, seed: int) -> dict[str, Score]:
        """`calibration_error` after temperature scaling, `calibration_raw_error` before, both better when low.

        `calibration_top1` is the accuracy of that classifier: an error says little without it.

        Raises:
            ValueError: splits that cannot be scored; see `count_classes`.
        """
        num_classes = count_classes(train, test)
        x, x_test = standardized(train.features.float(), test.features.float())  # [N, D], [M, D]
        chosen = choose_l2(train, num_classes, self.config.l2, self.config.holdout_every, seed)
        held = torch.addmm(chosen.bias, x[chosen.held], chosen.weight)  # [H, C] logits
        temperature = best_temperature(held, train.label[chosen.held])
        raw = predict(x_test, chosen.weight, chosen.bias)
        scaled = predict(x_test, chosen.weight / temperature, chosen.bias / temperature)
        hits = raw.label == test.label  # [M]
        return {
            "calibration_error": self._error(scaled.confidence, hits),
            "calibration_raw_error": self._error(raw.confidence, hits),
            "calibration_top1": mean_score(hits, raw.label),
        }

    def _error(self, confidence: Tensor, hits: Tensor) -> Score:
        def reweighted(weight: Tensor) -> float:
            return expected_calibration_error(confidence, hits, self.config.bins, weight)

        return Score(expected_calibration_error(confidence, hits, self.config.bins), reweighted=reweighted)


def expected_calibration_error(confidence: Tensor, hits: Tensor, bins: int = 15, weight: Tensor | None = None) -> float:
    """Gap between confidence and accuracy, averaged over confidence bins by their share of the samples.

    Equation 3 of Guo et al. 2017 (https://arxiv.org/abs/1706.04599); bin b holds confidences in (b / bins,
    (b + 1) / bins].

    Args:
        confidence: [M] in [0, 1].
        hits: [M] bool, whether the prediction was right.
        weight: [M] float64, how often each sample counts; None: once.
    Returns: a number in [0, 1].
    Raises:
        ValueError: no samples, or different lengths.
    """
    if confidence.shape != hits.shape or not len(hits):
        raise ValueError(f"needs [M] confidences and hits; got {list(confidence.shape)} and {list(hits.shape)}")
    index = (confidence.double() * bins).ceil().long().clamp(1, bins) - 1  # [M]
    weight = torch.ones_like(confidence, dtype=torch.float64) if weight is None else weight  # [M]
    surplus = torch.bincount(index, (confidence.double() - hits.double()) * weight)  # [bins] or as many as are used
    return float(surplus.abs().sum() / weight.sum())


def best_temperature(logits: Tensor, label: Tensor) -> float:
    """The T for which softmax(logits / T) makes the labels likeliest (Guo et al. 2017, section 4.2).

    The likelihood is concave in 1 / T, so its derivative, mean of logit[label] - E_p[logit], has one zero: bisection
    between 1/1000 and 1000, where it also ends for logits that are always right or say nothing.

    Args:
        logits: [H, C].
        label: [H] int64.
    """
    wide = logits.double() - logits.double().mean(dim=1, keepdim=True)  # [H, C]
    target = wide.gather(1, label[:, None]).mean()
    low, high = 1 / _HOTTEST, 1 / _COLDEST  # of 1 / T
    for _ in range(60):
        middle = (low * high) ** 0.5
        expected = ((wide * middle).softmax(dim=1) * wide).sum(dim=1).mean()
        low, high = (middle, high) if expected < target else (low, middle)
    return 1 / middle
