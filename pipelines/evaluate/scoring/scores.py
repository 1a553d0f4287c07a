"""What an evaluation found out about an encoder, as plain values: what report.md, scores.json and the gates read."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from pipelines.evaluate.tasks._robustness_table import Robustness
from ssl_core.config import Config

LeakKind = Literal["bytes", "phash", "features"]


class ClassScores(Config):
    """How well one class is told from the others."""

    name: str
    support: NonNegativeInt
    """Test samples of this class."""
    precision: float
    recall: float
    f1: float
    intervals: dict[str, tuple[float, float]] = {}
    """`precision`, `recall`, `f1` -> 95 % interval over test samples; empty: nothing was resampled."""

    def shown(self, name: str) -> str:
        """One of the three with its interval."""
        ends = self.intervals.get(name)
        return f"{getattr(self, name):.3f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "")


class LeakPair(Config):
    """A test sample that is also, or nearly, a train sample."""

    train: int
    """Sample id."""
    test: int
    """Sample id."""
    kind: LeakKind
    """What is equal or close: the stored bytes, the picture by its perceptual hash, or the features."""
    distance: float
    """0 for equal bytes; bits that differ; or 1 - cosine similarity."""
    train_origin: str = ""
    """The file, and the row in it, that the sample came from."""
    test_origin: str = ""


class Leaks(Config):
    """Test samples that pre-training has, or may have, seen."""

    num_exact: NonNegativeInt
    """Test samples whose stored bytes equal those of a train sample."""
    num_near: NonNegativeInt
    """Further test samples that look like a train sample."""
    num_checked: NonNegativeInt
    """Test samples looked at."""
    rate: float
    """Share of those checked that are exact or near copies."""
    pairs: tuple[LeakPair, ...] = ()
    """The closest, at most 20."""
    missing: str = Field(default="", exclude_if=lambda text: not text)
    """Why exact copies were not looked for by their bytes."""


class Pretraining(Config):
    """Test samples among what an encoder was pre-trained on, which is not the data it was scored on."""

    shards: str = ""
    """Digest of the data; empty: not known."""
    leaks: Leaks | None = None
    missing: str = ""
    """Why that was not checked."""


class Scores(Config):
    """What was found out about an encoder; `x_std` is the spread of `x` over draws. See measures/measure.py."""

    encoder: dict[str, float] = {}
    """Scores of the pre-trained encoder; empty: the source has no labels."""
    random_init: dict[str, float] = {}
    """The same probes on the same encoder before pre-training; empty: not measured."""
    raw_input: dict[str, float] = {}
    """The same probes on the flattened input; empty: not measured."""
    intervals: dict[str, tuple[float, float]] = {}
    """Score -> 95 % bootstrap interval of the encoder's score over test samples; empty: not resampled."""
    gains: dict[str, tuple[float, float]] = {}
    """Score -> 95 % interval of its gain over the better floor, paired on the same test samples."""
    health: dict[str, float] = {}
    """Label-free measures of the pre-trained encoder, e.g. rankme."""
    outliers: tuple[int, ...] = ()
    """Ids of test samples whose features have an unusual length, farthest first, at most 20."""
    robustness: Robustness | None = None
    """None: not measured."""
    per_class: tuple[ClassScores, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    """Test samples by true class (row) and predicted class (column)."""
    predicted_by: str = ""
    """The score whose predictions `per_class` and `confusion` count."""
    leaks: Leaks | None = None
    """None: not checked."""
    pretraining: Pretraining | None = None
    """None: it was pre-trained on the data it was scored on, so `leaks` says it."""
    protocols: dict[str, str] = {}
    """Probe name -> the line that names its protocol."""
    headline: str = ""
    """The score that the verdict quotes; empty: the first one."""
    seed: int = 0
    """Keys the probes' draws and held-out slices."""
    num_train: PositiveInt | None = None
    num_test: PositiveInt | None = None

    @model_validator(mode="after")
    def _headline_exists(self) -> "Scores":
        if self.headline and self.headline not in self.encoder:
            raise ValueError(f"headline: there is no score '{self.headline}'; choose one of {', '.join(self.encoder)}")
        return self
