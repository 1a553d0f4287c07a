"""The parts of an evaluation that need more than frozen features of clean views: robustness and fine-tuning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.artifacts import ShardSet
from pipelines.config import SetupConfig
from pipelines.errors import UserError
from pipelines.features import FeatureSet
from pipelines.manifest import Manifest
from pipelines.robustness import MEAN, Robustness
from pipelines.stages import corruption, fine_tune
from pipelines.stages.embedding import Subject


@dataclass
class Outcome:
    """What they add to a report."""

    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    """By subject."""
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
        UserError: asked for, and there are no labels.
    """
    wanted, made = config.evaluate, Outcome({subject.name: {} for subject in subjects})
    for key in ("robustness", "fine_tune"):
        if getattr(wanted, key) is not None and not labels:
            raise UserError(f"evaluate.{key}: needs labels, these data have none (source.labels); set it to null")
    if wanted.robustness is not None:
        found = corruption.robustness(config, wanted.robustness, shards, listing, labels, features, subjects)
        for name, result in found.items():
            made.scores[name][MEAN] = result.mean
        made.robustness = found["encoder"]
        made.metrics |= found["encoder"].metrics()
        made.protocols["robustness"] = corruption.protocol(wanted.robustness)
    if wanted.fine_tune is not None:
        top1 = fine_tune.fine_tune(config, wanted.fine_tune, shards, listing, labels, subjects, folder)
        for name, value in top1.items():
            made.scores[name][fine_tune.SCORE] = value
        made.metrics[fine_tune.SCORE] = top1["encoder"]
        made.protocols["fine_tune"] = fine_tune.protocol(wanted.fine_tune)
    return made
