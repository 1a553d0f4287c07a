"""What `review:` of a recipe holds: the gates that a version passes before it becomes champion."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, ValidationError, field_validator

from pipelines.config import plain_yaml
from pipelines.errors import UserError
from ssl_core.config import Config
from ssl_core.measures.measure import HEALTH

Fraction = Annotated[float, Field(ge=0, le=1)]


class Gates(Config):
    """Each line is one gate; None or {} turns it off. Hashes, loading and the audit are always looked at."""

    beats_floors: bool = True
    """The headline score gains on the better of random init and raw input, by the lower end of the interval."""
    min_scores: dict[str, Fraction] = {}
    """Score -> the least value; of an error (`calibration_error`), which is better when low, the most."""
    max_regression: Fraction | None = 0.02
    """What a score may lose against the champion, by the lower end of the paired 95 % interval."""
    compared: tuple[str, ...] = ()
    """Scores that may not regress; empty: the headline."""
    min_health: dict[str, float] = {"rankme": 2.0}
    """Label-free measure -> the least value; of a collapsed encoder, rankme is near 1."""
    max_health: dict[str, float] = {}
    """Label-free measure -> the most, e.g. of uniformity, alignment or norm_outliers, which are better when low."""
    max_leak_rate: Fraction | None = 0.01
    """Share of test samples that are copies of train samples."""
    max_difference: PositiveFloat | None = 1e-3
    """Distance of an embedding from the one stored at registration, as a fraction of its length."""
    max_latency_ms: PositiveFloat | None = None
    """Per image, on the reviewer's machine."""
    max_size_mb: NonNegativeFloat | None = None

    @field_validator("min_health")
    @classmethod
    def _high_is_better(cls, given: dict[str, float]) -> dict[str, float]:
        if wrong := sorted(given.keys() & HEALTH.keys()):
            raise ValueError(f"{', '.join(wrong)}: better when low; put a limit into max_health")
        return given


class ReviewConfig(Config):
    gates: Gates = Gates()
    enforced: bool = False
    """Copy each champion into `NAME-prod`, a registered model that reviewers own: with MLflow's basic-auth nobody
    else can move its aliases or tags. The files stay where they are; `load_encoder` holds them against the tags."""
    license: str = ""
    """Of the data, for the model card."""
    provenance: str = ""
    """Where the data come from and who may use them, for the model card."""


def load(path: Path) -> ReviewConfig:
    """Read a reviewer's own rules: what a recipe holds below `review:`, with or without that line.

    Raises:
        UserError: no such file, or one dotted line per mistake.
    """
    try:
        tree: Any = plain_yaml.load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--gates {path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
    except plain_yaml.NotPlain as error:
        raise UserError(f"--gates {path}: {error}") from None
    if isinstance(tree, dict) and "review" in tree:
        tree = tree["review"]
    try:
        return ReviewConfig.model_validate(tree)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'review'}: {e['msg']}" for e in error.errors(include_url=False)]
        raise UserError(f"--gates {path}: " + "; ".join(lines)) from None
