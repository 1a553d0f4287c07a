"""How wide an encoder, and how many steps, fit into a time; free of Ray."""

import math
import re
from bisect import bisect_right
from collections.abc import Mapping

from pipelines.config.run import RunConfig
from pipelines.errors import UserError
from pipelines.tracking.display import clock
from pipelines.train.plan.forecast import START_S, Rehearsed, seconds

EVALUATE_S = 40
"""From the last step to the registered version, beside what grows with the samples: the start of the readers, probes,
report, registry."""
FEWEST_STEPS = 100
"""Of a training that is worth its start, unless the recipe's own has fewer."""
LONGEST = 8
"""Times the training of the recipe without a budget; a longer one is no use to so few samples."""
ROOM = 1.5
"""A wider encoder is tried where this many times the wanted steps fit."""
SHARE = 0.2
"""Of what is left for the training that another rehearsal may take."""
WIDTHS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "resnet": ("width", (8, 16, 32, 64)),
    "convnet": ("width", (16, 32, 64)),
    "mel_conv": ("width", (8, 16, 32, 64)),
    "mel_vit": ("dim", (64, 128, 192)),
    "series_conv": ("width", (16, 32, 64, 128)),
    "patch_transformer": ("dim", (32, 64, 128, 256)),
    "vit": ("dim", (48, 96, 192, 384)),
}
"""Encoder -> key of its width, and widths to choose from."""
_MOST_STEPS = 1 << 40


def duration(text: str) -> int:
    """`90s`, `20m`, `2h` or `1h30m` in seconds.

    Raises:
        UserError: anything else, or nothing.
    """
    parts = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", text.strip().lower())
    hours, minutes, rest = (int(part or 0) for part in parts.groups()) if parts else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + rest
    if not total:
        raise UserError(f"--budget: {text!r}: write a time such as 90s, 20m, 2h or 1h30m")
    return total


def evaluation_s(config: RunConfig, rehearsed: Rehearsed, num_samples: int) -> float:
    """About: encoding all samples with the encoder and with the one of random weights, twice forward, takes no longer
    than a training step on them, which is twice forward and backward."""
    return EVALUATE_S + num_samples * rehearsed.step_s / config.train.global_batch_size


def steps_within(config: RunConfig, rehearsed: Rehearsed, available_s: float) -> int:
    """The most steps whose training takes no longer."""
    if available_s < rehearsed.step_s:
        return 0
    most = min(_MOST_STEPS, int(available_s / rehearsed.step_s))
    return bisect_right(range(1, most + 1), available_s, key=lambda steps: seconds(config, rehearsed, steps))


def around(config: RunConfig, rehearsed: Rehearsed, num_samples: int, spent_s: float) -> float:
    """Seconds of a command that are no training: spent before it, its start, the evaluation."""
    return spent_s + START_S + evaluation_s(config, rehearsed, num_samples)


def next_width(
    widths: tuple[int, ...], fitting: Mapping[int, int], wanted: int, rehearsal_s: float, left_s: float
) -> int | None:
    """The width to rehearse after those that were: wider while there is room, narrower while there is none.

    Args:
        widths: to choose from, in order.
        fitting: width -> steps that fit, of those rehearsed.
        wanted: steps of the recipe.
        rehearsal_s: what the last one took.
        left_s: what is left for the training.
    Returns: None: enough is known, or another rehearsal would take a large share of what is left.
    """
    if SHARE * left_s < rehearsal_s:
        return None
    if all(steps >= ROOM * wanted for steps in fitting.values()):
        return next((width for width in widths if width > max(fitting)), None)
    if all(steps < wanted for steps in fitting.values()):
        return next((width for width in reversed(widths) if width < min(fitting)), None)
    return None


def choose(fitting: Mapping[int, int], wanted: int) -> tuple[int, int]:
    """(width, steps): the widest encoder with which the wanted steps fit, else the narrowest with those that do."""
    enough = [width for width, steps in fitting.items() if steps >= wanted]
    width = max(enough) if enough else min(fitting)
    return width, min(fitting[width], LONGEST * wanted)


def check(config: RunConfig, rehearsed: Rehearsed, steps: int, fewest: int, budget_s: float, around_s: float) -> None:
    """
    Args:
        steps: that fit.
        fewest: that are worth a training.
        around_s: what is spent before and after it.
    Raises:
        UserError: too few fit.
    """
    if steps >= fewest:
        return
    training = seconds(config, rehearsed, fewest)
    raise UserError(
        f"--budget: {clock(budget_s)} is too short: {fewest} steps take {clock(training)} here, ingest, rehearsal, "
        f"start and evaluation {clock(around_s)}; give {math.ceil(1.1 * (training + around_s) / 60)}m or more"
    )
