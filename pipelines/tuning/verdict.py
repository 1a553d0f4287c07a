"""The verdict of a campaign: whether its best config beats the recipe's own on fresh seeds, beyond what seeds do."""

from collections.abc import Sequence
from math import inf
from statistics import fmean, stdev

from pipelines.tuning.campaign import Campaign
from pipelines.tuning.config import oriented
from pipelines.tuning.records import Trial
from pipelines.tuning.space import Changes
from ssl_core.config import Config
from ssl_core.statistics import welch


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


def verdict(metric: str, ranked: Sequence[Confirmed], campaign: Campaign) -> str:
    """One line: is the winner better than the recipe, beyond what seeds do?"""
    best = next((c for c in ranked if c.trial is not None), None)
    default = next((c for c in ranked if c.trial is None), None)
    if best is None or not best.values:
        first = campaign.ranked()[0]
        said = f"trial {first.number} is the best: {metric} {first.value(metric):.3f} on one seed"
        if best is None:
            return f"{said}; how much of that is luck was not measured"
        return f"{said}; none of the best configs came to its end on a fresh seed"
    said = f"trial {best.trial}: {metric} {_spread(best)}"
    if default is None or not default.values:
        return (
            f"{said}; the recipe's own config came to its end on no fresh seed, so there is nothing to hold it against"
        )
    said += f" against {_spread(default)} of the recipe's own config"
    if best.std is None or default.std is None:
        return f"{said}; a single seed does not say how large the noise is"
    theirs, ours = ([oriented(metric, v) for v in c.values] for c in (default, best))
    gain = welch(theirs, ours)
    how = "better" if gain.low > 0 else "worse" if gain.high < 0 else "not better"
    span = f"{gain.mean:+.3f}, 95 % interval {gain.low:+.3f} to {gain.high:+.3f}"
    return f"{how} than the recipe beyond the noise ({span}): {said}"


def _spread(confirmed: Confirmed) -> str:
    ended, spread = len(confirmed.values), "" if confirmed.std is None else f" +- {confirmed.std:.3f}"
    seeds = f"{ended} seeds" if ended == confirmed.num_seeds else f"{ended} of {confirmed.num_seeds} seeds ended"
    return f"{confirmed.mean:.3f}{spread} ({seeds})"
