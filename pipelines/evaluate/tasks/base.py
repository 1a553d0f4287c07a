"""What a task of an evaluation is: a score that takes more than frozen features of clean views.

A probe reads features that lie there; a task makes its own: of other views, or by training on. Shapes: N test samples.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from pipelines.config.run import SetupConfig
from pipelines.data.shards.manifest import Manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.evaluate.features.encode import Subject
from pipelines.evaluate.features.feature_set import FeatureSet
from pipelines.evaluate.tasks._robustness_table import Robustness
from ssl_core.augment.base import Augmentation
from ssl_core.evaluate.base import Score


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation has at hand when its tasks begin."""

    config: SetupConfig
    shards: ShardSet
    listing: Manifest
    labels: Mapping[str, Mapping[int, int]]
    """Split -> sample id -> class number; empty: no labels."""
    features: Mapping[str, FeatureSet]
    """By subject: those of clean views."""
    subjects: list[Subject]
    folder: Path
    """Of the evaluation; gets lines of progress."""


@dataclass
class Outcome:
    """What all tasks together add to a report."""

    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    """By subject; means over the test samples that the task looked at."""
    sample_id: dict[str, Tensor] = field(default_factory=dict)
    """Of scores that looked at some test samples only: score -> the ids of these, [N] int64."""
    protocols: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the encoder, for the record."""
    robustness: Robustness | None = None


class EvaluationTask(ABC):
    """Built as `cls(config)`; `evaluate.tasks` lists them by name, once each.

    Subclass contract:
      Config   nested settings; its `name` is the file name
      score    name of the one score that it gives; `ssl_core.measures.measure.TASKS` says what that means
      check    what of views it reads, asked when the YAML is parsed
      measure  adds to the outcome: the score of each subject, its protocol, metrics for the record
    """

    score: ClassVar[str]

    @property
    @abstractmethod
    def protocol(self) -> str:
        """One line that names what is measured, e.g. `fine_tune v1: all weights, 20 epochs of AdamW`."""

    @abstractmethod
    def check(self, chain: Augmentation) -> None:
        """
        Args:
            chain: of the eval view.
        Raises:
            ValueError: it cannot be done on such views; the caller puts the dotted key in front.
        """

    @abstractmethod
    def measure(self, given: Evaluated, outcome: Outcome) -> None:
        """
        Raises:
            UserError: it cannot be done on these data.
        """
