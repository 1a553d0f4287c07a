"""A finished review as one typed value: the content of review.json, and what page and card are written from."""

from typing import Literal

from pipelines.config.review import Gates
from pipelines.model.check import Checked
from pipelines.registry.decisions import Decision
from pipelines.registry.review.comparison import Comparison
from pipelines.registry.review.facts import Facts
from pipelines.registry.review.gates import Judged, failed
from ssl_core.config import Config


class Review(Config):
    """Of one version, against the champion of the moment."""

    verdict: str
    time: str
    """UTC, ISO 8601."""
    gates: Gates
    gates_from: Literal["the run's recipe", "a file of the reviewer"]
    judged: tuple[Judged, ...]
    facts: Facts
    checked: Checked
    champion: Facts | None = None
    """None: there is none yet, or it is this version."""
    against: Comparison | None = None
    """The champion as first, this version as second."""
    decisions: tuple[Decision, ...] = ()
    """So far, about this registered model."""
    tracking_uri: str
    """Where it is registered, without password."""

    @property
    def failed(self) -> tuple[str, ...]:
        return failed(self.judged)

    @property
    def uri(self) -> str:
        return f"models:/{self.facts.name}/{self.facts.version}"
