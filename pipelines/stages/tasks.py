"""The parts of an evaluation that need more than frozen features of clean views: robustness and fine-tuning.

Shapes: N test samples that are looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pipelines import outbox, probing
from pipelines.artifacts import ShardSet
from pipelines.config import SetupConfig
from pipelines.errors import UserError
from pipelines.features import FeatureSet
from pipelines.manifest import Manifest
from pipelines.probing import Measured
from pipelines.robustness import MEAN, Robustness
from pipelines.stages import corruption, fine_tune
from pipelines.stages.embedding import Subject
from ssl_core.evaluate._resample import replicates
from ssl_core.evaluate.base import mean_score


@dataclass
class Outcome:
    """What they add to a report."""

    scored: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Field of `report.Scores` -> what goes into it: scores by subject, intervals, gains."""
    protocols: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the encoder, for the record."""
    robustness: Robustness | None = None


def run(
    config: SetupConfig,
    shards: ShardSet,
    listing: Manifest,
    labels: Mapping[str, Mapping[int, int]],
    features: Mapping[str, FeatureSet],
    subjects: list[Subject],
    folder: Path,
) -> Outcome:
    """Whatever of them `evaluate` asks for.

    Raises:
        UserError: fine-tuning is asked for, and there are no labels.
    """
    wanted, made = config.evaluate, Outcome()
    if wanted.fine_tune is not None and not labels:
        raise UserError("evaluate.fine_tune: needs labels, these data have none (source.labels); set it to null")
    if wanted.robustness is not None and labels:  # without, the report says that nothing could be scored
        outbox.note(folder, f"robustness: {len(wanted.robustness.corruptions)} corruptions of the test split")
        found = corruption.robustness(config, wanted.robustness, shards, listing, labels, features, subjects)
        _add_(made, MEAN, {name: shares for name, (_, shares) in found.items()}, config)
        made.robustness = found["encoder"][0]
        made.metrics |= made.robustness.metrics()
        made.protocols["robustness"] = corruption.protocol(wanted.robustness)
    if wanted.fine_tune is not None:
        hits = fine_tune.fine_tune(config, wanted.fine_tune, shards, listing, labels, subjects, folder)
        _add_(made, fine_tune.SCORE, hits, config)
        made.metrics[fine_tune.SCORE] = made.scored["encoder"][fine_tune.SCORE]
        made.protocols["fine_tune"] = fine_tune.protocol(wanted.fine_tune)
    return made


def _add_(made: Outcome, score: str, values: Mapping[str, Tensor], config: SetupConfig) -> None:
    """One score of every subject, with its interval and that of its gain, from what each test sample scored, [N]."""
    measured = {}
    for name, per_sample in values.items():
        found = {score: mean_score(per_sample)}
        draws = replicates(found, len(per_sample), config.seed, config.evaluate.resamples)
        measured[name] = Measured(scores={score: found[score].value}, replicates=draws)
        made.scored.setdefault(name, {})[score] = found[score].value
    encoder = measured.pop("encoder")
    made.scored.setdefault("intervals", {}).update(encoder.intervals())
    made.scored.setdefault("gains", {}).update(probing.gains(encoder, list(measured.values())))
