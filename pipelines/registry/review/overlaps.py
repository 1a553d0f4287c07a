"""Test samples that an encoder or its probes have seen, in each evaluation that a review rests on."""

from pipelines.evaluate.scoring.scores import Leaks, Pretraining, Scores
from ssl_core.config import Config


class Overlap(Config):
    """The test samples of one evaluation, held against other samples."""

    where: str
    """What they were held against, e.g. `train`."""
    leaks: Leaks | None
    missing: str = ""
    """Why that, or a part of it, was not checked."""


def of(scores: Scores, by: str = "") -> tuple[Overlap, ...]:
    """Of one evaluation: against its train samples and, where these are others, what the encoder was pre-trained on.

    Args:
        by: tells the evaluation from the version's own, e.g. ` of m version 1, run 0123abcd`.
    """
    unasked = _unchecked(scores.leaks) if scores.leaks else "the report holds no leak check: evaluate again"
    found = [Overlap(where=f"train{by}", leaks=scores.leaks, missing=unasked)]
    if (other := scores.pretraining) is not None:
        found.append(Overlap(where=f"pre-training{by}", leaks=other.leaks, missing=_missing(other)))
    return tuple(found)


def _missing(other: Pretraining) -> str:
    return other.missing or (_unchecked(other.leaks) if other.leaks else "")


def _unchecked(leaks: Leaks) -> str:
    return f"exact copies were not looked for: {leaks.missing}" if leaks.missing else ""
