"""The parts of an evaluation that need more than frozen features of clean views: robustness and fine-tuning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from pipelines.config.evaluate import MEAN
from pipelines.config.run import SetupConfig
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.evaluate.features.encode import Subject
from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.evaluate.tasks import corruption, fine_tune
from pipelines.evaluate.tasks.robustness import Robustness
from pipelines.storage import outbox
from ssl_core.evaluate.base import Score, mean_score


@dataclass
class Outcome:
    """What they add to a report."""

    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    """By subject; means over the test samples that the task looked at."""
    sample_id: dict[str, Tensor] = field(default_factory=dict)
    """Of scores that looked at some test samples only: score -> the ids of these, [N] int64."""
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
    wanted, made = config.evaluate, Outcome({subject.name: {} for subject in subjects})
    if wanted.fine_tune is not None and not labels:
        raise UserError("evaluate.fine_tune: needs labels, these data have none (source.labels); set it to null")
    if wanted.robustness is not None and labels:  # without, the report says that nothing could be scored
        outbox.note(folder, f"robustness: the test split under {len(wanted.robustness.corruptions)} corruptions")
        found = corruption.robustness(config, wanted.robustness, shards, listing, labels, features, subjects)
        for name, side in found.items():
            made.scores[name][MEAN] = mean_score(side.shares)
        made.sample_id[MEAN], made.robustness = found["encoder"].sample_id, found["encoder"].table
        made.metrics |= made.robustness.metrics()
        made.protocols["robustness"] = corruption.protocol(wanted.robustness)
    if wanted.fine_tune is not None:
        found_right = fine_tune.fine_tune(config, wanted.fine_tune, shards, listing, labels, subjects, folder)
        for name, hits in found_right.items():
            made.scores[name][fine_tune.SCORE] = mean_score(hits)
        made.metrics[fine_tune.SCORE] = made.scores["encoder"][fine_tune.SCORE].value
        made.protocols["fine_tune"] = fine_tune.protocol(wanted.fine_tune)
    return made
