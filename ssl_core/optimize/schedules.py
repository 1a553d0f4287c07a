"""Schedules as pure functions of how much of training is done."""

from math import cos, pi


def cosine(start: float, end: float, fraction: float) -> float:
    """Half a cosine from `start` at fraction 0 to `end` at fraction 1 (SGDR, eq. 5)."""
    return end + (start - end) * (1 + cos(pi * min(max(fraction, 0.0), 1.0))) / 2


def warmup_cosine(peak: float, end: float, step: int, total: int, warmup: int) -> float:
    """Learning rate of optimizer step `step` (0-based): linear to `peak` over `warmup` steps, then cosine to `end`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return cosine(peak, end, (step - warmup) / max(1, total - warmup))


def teacher_momentum(start: float, step: int, total: int) -> float:
    """Momentum of a teacher's update after optimizer step number `step` (1-based): from `start` to 1.

    1 - (1 - start) (cos(pi k / K) + 1) / 2 with k = step - 1 and K = total (BYOL, section 3.3; DINO alike): the first
    update takes `start` itself, the last one falls just short of 1, as in the authors' code.
    """
    return cosine(start, 1.0, (step - 1) / total)
