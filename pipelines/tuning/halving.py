"""Asynchronous successive halving, in the form that stops trials instead of pausing them.

Li et al., 2020, "A System for Massively Parallel Hyperparameter Tuning" (https://arxiv.org/abs/1810.05934),
algorithm 2 with the stopping rule of section 4: a trial that comes to a rung goes on when it is among the best
1/reduction of all that have come there so far. Pure functions: the scores on disk are the whole state.
"""

from collections.abc import Sequence
from math import ceil, isnan

LAST = 2 / 3
"""No rung later than this share of a training: what it could save is not worth the risk."""


def rungs(looks: int, grace: float, reduction: int) -> tuple[int, ...]:
    """Numbers (from 1) of the looks at which trials are compared.

    Args:
        looks: evenly spread looks of a full training, the last at its end.
        grace: share of a full training before the first rung.
        reduction: each rung lies this many times as far as the one before.
    """
    found, share = [], grace
    while share <= LAST:
        if (look := max(1, round(share * looks))) not in found and look < looks:
            found.append(look)
        share *= reduction
    return tuple(found)


def goes_on(score: float, others: Sequence[float], reduction: int) -> bool:
    """Whether a score is among the best 1/reduction (at least one) of the rung, itself included; ties go on."""
    if isnan(score):
        return False
    better = sum(other > score for other in others)
    return better < ceil((len(others) + 1) / reduction)
