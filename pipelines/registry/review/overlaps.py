"""Test samples that an encoder or its probes have seen, in each evaluation that a review rests on."""

from pipelines.evaluate.scoring.scores import Leaks, Scores
from ssl_core.config import Config


class Overlap(Config):
    """The test samples of one evaluation, held against other samples."""

    where: str
    """What they were held against, e.g. `train`."""
    leaks: Leaks | None
    missing: str = ""
    """Why that was not checked."""


def of(scores: Scores, by: str = "") -> tuple[Overlap, ...]:
    """Of one evaluation: against its train samples and, where these are others, what the encoder was pre-trained on.

    Args:
        by: tells the evaluation from the version's own, e.g. ` of m version 1, run 0123abcd`.
    """
    unasked = "" if scores.leaks else "the report holds no leak check: evaluate again"
    found = [Overlap(where=f"train{by}", leaks=scores.leaks, missing=unasked)]
    if (other := scores.pretraining) is not None:
        found.append(Overlap(where=f"pre-training{by}", leaks=other.leaks, missing=other.missing))
    return tuple(found)
