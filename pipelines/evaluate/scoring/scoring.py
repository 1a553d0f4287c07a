"""From the features of an encoder and its floors to the scores of a report; no Ray, no MLflow.

Shapes: M test samples, C classes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.config.evaluate import EvaluateConfig
from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.evaluate.report import text
from pipelines.evaluate.scoring import probing
from pipelines.evaluate.scoring.probing import ProbeResult
from ssl_core.evaluate._maths.per_class import class_intervals, per_class

FLOORS = ("random_init", "raw_input")
MAX_CONFUSION = 100
"""Classes up to which the table of confusions is kept: it grows with their square."""


def measure(
    config: EvaluateConfig,
    seed: int,
    features: Mapping[str, FeatureSet],
    labels: Mapping[str, Mapping[int, int]],
    done: Callable[[dict[str, float]], None],
) -> dict[str, ProbeResult]:
    """Every probe on the encoder and its floors.

    Args:
        features: `encoder`, and any of `random_init` and `raw_input`.
        labels: `train` and `test` -> sample id -> class number.
        done: called after each probe, with its scores if it is the encoder's.
    """

    def measured(name: str) -> ProbeResult:
        def told(found: dict[str, float]) -> None:
            done(found if name == "encoder" else {})

        return probing.measure(features[name], config.probes, labels, seed, config.resamples, told)

    return {name: measured(name) for name in ("encoder", *FLOORS) if name in features}


def fields(
    measured: Mapping[str, ProbeResult],
    headline: str,
    sample_id: Tensor,
    labels: Mapping[int, int] | None,
    classes: Sequence[str],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """The fields of `report.Scores` that speak of scores.

    Args:
        resamples: of the test samples, behind the intervals per class.
        sample_id: [M], of the test split.
        labels: of the test split, sample id -> class number; None: there are none.
    """
    encoder, floors = measured["encoder"], [measured[name] for name in FLOORS if name in measured]
    label = None if labels is None else torch.tensor([labels[i] for i in sample_id.tolist()])  # [M]
    return {
        **{name: side.scores for name, side in measured.items()},
        "intervals": encoder.intervals(),
        "gains": probing.gains(encoder, floors),
        **({} if label is None else _by_class(encoder.predicted, headline, label, classes, seed, resamples)),
    }


def _by_class(
    predicted: Mapping[str, Tensor], headline: str, label: Tensor, classes: Sequence[str], seed: int, resamples: int
) -> dict[str, Any]:
    """The tables per class, by the headline's predictions; by the linear probe's where it has none of its own."""
    name = next((n for n in (headline, "linear_top1", *predicted) if n in predicted), None)
    if name is None:
        return {}
    table = per_class(predicted[name], label, len(classes))
    columns = (table.support, table.precision, table.recall, table.f1)
    rows = zip(classes, *(column.tolist() for column in columns), strict=True)
    ends = class_intervals(predicted[name], label, len(classes), seed, resamples)
    return {
        "predicted_by": name,
        "per_class": [
            text.ClassScores(
                name=n,
                support=support,
                precision=precision,
                recall=recall,
                f1=f1,
                intervals={score: (low, high) for score, of in ends.items() for low, high in [of[row].tolist()]},
            )
            for row, (n, support, precision, recall, f1) in enumerate(rows)
        ],
        "confusion": table.confusion.tolist() if len(classes) <= MAX_CONFUSION else (),
    }
