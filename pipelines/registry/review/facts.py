"""What is known about an encoder under review, as typed values; pipelines/registry/review/gather.py fills them.

What an older run did not log is absent, and `missing` says so in words.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt

from pipelines.config.review import ReviewConfig
from pipelines.evaluate.report.samples import Samples
from pipelines.evaluate.scoring.outcomes import Outcomes
from pipelines.evaluate.scoring.scores import Scores
from pipelines.tracking.datasets import DIGEST_LENGTH
from ssl_core.config import Config


class Code(Config):
    """What an attempt at a run ran, and where."""

    run_id: str
    commit: str
    """Empty: no git checkout, or not logged."""
    branch: str = ""
    dirty: bool | None = None
    """Whether the checkout differed from the commit; None: not logged."""
    patch: str = ""
    """The artifact of the run with the uncommitted changes; empty: there is none."""
    patch_lines: NonNegativeInt = 0
    environment: dict[str, str] = {}


class Lineage(Config):
    """Where the weights come from."""

    run_id: str
    run_name: str = ""
    user: str = ""
    trained: tuple[Code, ...] = ()
    """What trained it: the run's first attempt, then those that went on with other code; empty: not known."""
    evaluated: tuple[Code, ...] = ()
    """What evaluated it, where that was another run than the one that trained it."""
    shards: str = ""
    """Digest of the manifest of the data that it was scored on; empty: not recorded."""
    checkpoint: str = ""
    """Digest."""
    sha256: str = ""
    """Of the weights, as registered."""
    restarts: NonNegativeInt = 0
    audit: str = ""
    """Verdict on what training consumed; empty: there is none."""
    audit_exact: bool | None = None

    @property
    def code(self) -> Code | None:
        """What training began with."""
        return self.trained[0] if self.trained else None

    @property
    def data_key(self) -> str:
        """What tells its data from others: as much of the digest as MLflow keeps."""
        return self.shards[:DIGEST_LENGTH]


class Data(Config):
    name: str = ""
    folder: str = ""
    """Where the shards lay when they were logged."""
    train: NonNegativeInt | None = None
    test: NonNegativeInt | None = None
    quarantined: NonNegativeInt | None = None
    duplicates: NonNegativeInt | None = None
    license: str = ""
    provenance: str = ""


class Place(Config):
    """Where in a campaign's search space the encoder lies."""

    verdict: str
    num_trials: NonNegativeInt
    values: dict[str, str]
    """Searched key -> its value, and the range it was searched in; empty: the campaign's report is gone."""
    trial: int | None = None
    """That won; None: an older campaign does not say."""
    run_id: str = ""
    """Of the campaign; empty: an older campaign's winner does not say."""
    experiment_id: str = ""


class Elsewhere(Config):
    """What `selfray evaluate NAME/3 --on DATA` said of an encoder whose own data have no labels."""

    run_id: str
    folder: str
    """Where that data lay."""
    scores: Scores


class Facts(Config):
    """About one encoder."""

    title: str
    """`NAME version 3`, or what the user called it."""
    name: str = ""
    """Of the registered model; empty: not a registered version."""
    version: int | None = None
    aliases: tuple[str, ...] = ()
    experiment_id: str = ""
    """Of the run that registered it; empty: an older review does not say."""
    created: int | None = None
    """Milliseconds since 1970."""
    scores: Scores | None = None
    """Of its own evaluation; without scores where its data have no labels, see `elsewhere`."""
    elsewhere: Elsewhere | None = None
    """None: its own data have labels, or no others have been looked at."""
    config: dict[str, Any] = {}
    """The run's config: dotted keys."""
    lineage: Lineage
    data: Data = Data()
    campaign: Place | None = None
    missing: tuple[str, ...] = ()
    """What was not logged, one sentence each."""

    @property
    def judged(self) -> Scores | None:
        """What gates, verdict and page speak of: its own scores, or those on other data if its own have no labels."""
        return self.elsewhere.scores if self.elsewhere else self.scores

    @property
    def headline(self) -> str:
        """The score that verdicts quote; empty: there are no scores."""
        if self.judged is None or not self.judged.encoder:
            return ""
        return self.judged.headline or next(iter(self.judged.encoder))


@dataclass(frozen=True)
class Subject:
    """An encoder under review: its facts and what its report folder holds."""

    facts: Facts
    report: Path
    outcomes: Outcomes | None
    samples: Samples | None
    rules: ReviewConfig
    """What its own recipe asks of a review."""
