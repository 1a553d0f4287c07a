"""The verdict of a campaign: whether its best config beats the recipe's own on fresh seeds, beyond what seeds do.

The best of k configs on fresh seeds has been chosen by them, so it is held against the recipe with confidence
1 - 0.05 / k (Bonferroni): equals are called better in at most one of twenty campaigns, whatever k. The interval is over
seeds only: all are scored on the same held-out slice, and what another slice would say is not in it.
"""

from collections.abc import Sequence
from math import inf
from statistics import fmean, stdev
from typing import NamedTuple

from pipelines.config.tune import ConfirmConfig, oriented
from pipelines.tuning.campaign import Campaign
from pipelines.tuning.records import Trial
from pipelines.tuning.space import Changes
from ssl_core.config import Config
from ssl_core.measures.statistics import welch


class Verdict(NamedTuple):
    line: str
    is_better: bool
    """The winner beats the recipe beyond the noise."""


class Confirmed(Config):
    """One config on fresh seeds."""

    trial: int | None
    """The search trial; None: the recipe's own config."""
    changes: Changes
    values: tuple[float, ...]
    """The metric, one per seed that came to its end."""
    num_seeds: int
    """That it was run on; where `values` are fewer, it collapsed or failed on the others."""

    @property
    def mean(self) -> float | None:
        """None: no seed came to its end."""
        return fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Over seeds; None: fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None


def confirmed(campaign: Campaign) -> list[Confirmed]:
    """The configs that ran on fresh seeds, best first, those that collapsed or failed on some seed last."""
    metric, groups = campaign.plan.tune.metric, dict[int | None, list[Trial]]()
    for trial in campaign.of("confirm", "default"):
        groups.setdefault(trial.of, []).append(trial)
    found = [
        Confirmed(
            trial=of,
            changes={key: value for key, value in trials[0].changes.items() if key != "seed"},
            values=tuple(v for t in trials if t.state == "done" and (v := t.value(metric)) is not None),
            num_seeds=len(trials),
        )
        for of, trials in groups.items()
    ]

    def place(c: Confirmed) -> tuple[bool, float]:
        return len(c.values) < c.num_seeds, -fmean(oriented(metric, v) for v in c.values) if c.values else inf

    return sorted(found, key=place)


def winner(ranked: Sequence[Confirmed], campaign: Campaign) -> int:
    """The search trial whose config did best on fresh seeds; where none ended there, the best of the search."""
    itself = campaign.itself()
    ended = (itself if c.trial is None else c.trial for c in ranked if c.values)
    return next((number for number in ended if number is not None), campaign.ranked()[0].number)


def verdict(metric: str, ranked: Sequence[Confirmed], campaign: Campaign) -> Verdict:
    """Is the winner better than the recipe, beyond what seeds do?"""
    itself = campaign.itself()
    best = next((c for c in ranked if c.trial is not None or itself is not None), None)
    default = next((c for c in ranked if c.trial is None), None)
    if best is None or not best.values:
        first = campaign.ranked()[0]
        said = f"trial {first.number} is the best: {metric} {first.value(metric):.3f} on one seed"
        if best is None:
            return Verdict(f"{said}; how much of that is luck was not measured", False)
        return Verdict(f"{said}; none of the best configs came to its end on a fresh seed", False)
    if best.trial is None:
        return Verdict(f"the best is the recipe itself (trial {itself}): {metric} {_spread(best)}", False)
    said = f"trial {best.trial}: {metric} {_spread(best)}"
    if default is None or not default.values:
        none = "the recipe's own config came to its end on no fresh seed, so there is nothing to hold it against"
        return Verdict(f"{said}; {none}", False)
    said += f" against {_spread(default)} of the recipe's own config"
    if best.std is None or default.std is None:
        return Verdict(f"{said}; a single seed does not say how large the noise is", False)
    if best.std == default.std == 0:
        return Verdict(f"cannot tell whether it beats the recipe: no seed differs from another; {said}", False)
    theirs, ours = ([oriented(metric, v) for v in c.values] for c in (default, best))
    confidence = 1 - 0.05 / sum(c.trial is not None for c in ranked)
    gain = welch(theirs, ours, confidence=confidence)
    how = "better" if gain.low > 0 else "worse" if gain.high < 0 else "not better"
    span = f"{gain.mean:+.3f}, {100 * confidence:.3g} % interval {gain.low:+.3f} to {gain.high:+.3f}"
    where = "over seeds, on this held-out slice"
    return Verdict(f"{how} than the recipe beyond the noise ({span} {where}): {said}", gain.low > 0)


def weakness(confirm: ConfirmConfig) -> str | None:
    """Why so few seeds hardly show anything, as one line; None: they are enough, or nothing is confirmed."""
    if confirm.seeds == 1:
        return "tune.confirm.seeds 1: a single seed does not say how large the noise is; take 3 or more"
    if confirm.seeds == 2:  # t at 0.975 with the two degrees of freedom that four runs leave
        return (
            "tune.confirm.seeds 2: only a gain of more than 4.3 times the spread over seeds would count, so it can "
            "hardly show anything; take 3 or more"
        )
    return None


def _spread(confirmed: Confirmed) -> str:
    ended, spread = len(confirmed.values), "" if confirmed.std is None else f" +- {confirmed.std:.3f}"
    seeds = f"{ended} seeds" if ended == confirmed.num_seeds else f"{ended} of {confirmed.num_seeds} seeds ended"
    return f"{confirmed.mean:.3f}{spread} ({seeds})"
