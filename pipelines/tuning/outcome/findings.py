"""What a campaign has found, as one typed value: the content of report.json, and what the pages draw."""

from collections.abc import Mapping, Sequence
from math import isfinite, sqrt
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.config.tune import METRICS, ConfirmConfig, Range, oriented
from pipelines.tuning import halving
from pipelines.tuning.campaign import Campaign
from pipelines.tuning.outcome.verdict import Confirmed, Verdict, confirmed, verdict, weakness, winner
from pipelines.tuning.plan import milestones
from pipelines.tuning.records import Trial
from pipelines.tuning.space import Changes, place
from ssl_core.config import Config
from ssl_core.measures.statistics import spearman

JUDGES = ("knn_top1", "linear_top1")
"""Metrics with labels, against which the others are held."""
FEWEST = 6
"""Trials from which the importance of keys is read."""


class Agreement(Config):
    """How well a metric ranked the trials, against one that has labels."""

    metric: str
    against: str
    spearman: float
    """Rank correlation once both are turned so that larger is better."""
    num_trials: int
    share: float | None = None
    """How far the trials had come when they were compared, of a full training; None: an old report does not say."""

    @property
    def chance(self) -> float:
        """Between metrics that have nothing to do with each other, |rho| stays below this 19 times out of 20."""
        return 1.96 / sqrt(self.num_trials - 1)


class Rung(Config):
    """What the scores at a rung said about the scores at the end."""

    share: float
    """Of a full training."""
    reached: int
    stopped: int
    spearman: float | None
    """Between the score here and at the end, over the trials that came to the end; None: too few, or all equal."""


class Cost(Config):
    spent: float
    """Seconds of all search trials together."""
    in_full: float
    """An estimate: what the same trials would have taken without early stopping, each stopped one at its own speed
    between its looks; what comes before the first look, such as its start, is paid once."""
    confirmation: float

    @property
    def ratio(self) -> float:
        return self.in_full / self.spent if self.spent else 1.0


class Findings(Config):
    name: str
    metric: str
    meaning: str
    searcher: str
    scheduler: str
    space: dict[str, Range]
    own: Changes
    """Searched key -> the recipe's own value."""
    trials: tuple[Trial, ...]
    winner: int
    itself: int | None = None
    """The search trial that is the recipe's own config, where it is one of the best: the recipe's runs confirm it."""
    confirmed: tuple[Confirmed, ...]
    """Best first, those that collapsed or failed on some seed last; the recipe's own config is among them."""
    verdict: str
    is_better: bool
    """The winner beats the recipe beyond the noise."""
    importance: dict[str, float]
    """Key -> share of the score's variance that a quadratic in this key alone explains."""
    agreements: tuple[Agreement, ...]
    rungs: tuple[Rung, ...]
    cost: Cost
    floors: dict[str, dict[str, float]]
    """raw_input and random_init -> metric -> value, on the same held-out slice."""
    advice: tuple[str, ...]

    @property
    def best(self) -> Trial:
        return next(trial for trial in self.trials if trial.number == self.winner)

    @property
    def confirmation(self) -> Confirmed | None:
        """The winner on fresh seeds; None: it did not run on any."""
        of = None if self.winner == self.itself else self.winner
        return next((each for each in self.confirmed if each.trial == of), None)


def find(campaign: Campaign, name: str, floors: Mapping[str, Mapping[str, float]]) -> Findings:
    """Look at all records. Some search trial must have come to its end."""
    tune = campaign.plan.tune
    ranked = confirmed(campaign)
    found, best = verdict(tune.metric, ranked, campaign), winner(ranked, campaign)
    deep = _deepest(campaign)
    agreements = _agreements(deep)
    return Findings(
        name=name,
        metric=tune.metric,
        meaning=METRICS[tune.metric].meaning,
        searcher=tune.searcher,
        scheduler=tune.scheduler,
        space=dict(tune.space),
        own=_own(campaign),
        trials=tuple(campaign.trials),
        winner=best,
        itself=campaign.itself(),
        confirmed=tuple(ranked),
        verdict=found.line,
        is_better=found.is_better,
        importance=_importance(tune.space, tune.metric, _deepest(campaign, FEWEST).seen),
        agreements=tuple(agreements),
        rungs=tuple(_rungs(campaign)),
        cost=_cost(campaign),
        floors={floor: dict(values) for floor, values in floors.items()},
        advice=(*_notes(found, best, tune.confirm), *_advice(tune.metric, agreements)),
    )


def _notes(found: Verdict, best: int, confirm: ConfirmConfig) -> list[str]:
    """What a reader of the verdict should know before trusting the winner."""
    candidate = f"trial {best} becomes a candidate all the same: nothing here shows that it beats the recipe"
    return [*([] if found.is_better else [candidate]), *([few] if (few := weakness(confirm)) else [])]


def _own(campaign: Campaign) -> Changes:
    recipe, values = campaign.plan.config({}).model_dump(mode="json"), dict[str, Any]()
    for key in campaign.plan.tune.space:
        node: Any = recipe
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        values[key] = node
    return values


Scored = list[tuple[Trial, dict[str, float]]]


class Deep(NamedTuple):
    """Trials side by side."""

    share: float
    """Of a full training."""
    seen: Scored


def _deepest(campaign: Campaign, fewest: int = 0) -> Deep:
    """The search trials at the farthest look that half of those ever looked at came to, and what was seen there.

    Args:
        fewest: so many at least, or all there are.
    """
    looks, trials = campaign.plan.tune.looks, [t for t in campaign.of("search") if t.looks]
    for number in reversed(range(looks)):
        there = [(t, t.look_at(milestones(t.total, looks)[number])) for t in trials]
        seen = [(t, look.values) for t, look in there if look is not None]
        if len(seen) >= min(len(trials), max(len(trials) / 2, fewest)):
            return Deep((number + 1) / looks, seen)
    return Deep(0.0, [])


def _agreements(deep: Deep) -> list[Agreement]:
    found = []
    for against in JUDGES:
        for metric in METRICS:
            pairs = [(v[metric], v[against]) for _, v in deep.seen if metric in v and against in v]
            if metric == against or len(pairs) < 4:
                continue
            here, there = ([oriented(name, p[i]) for p in pairs] for i, name in enumerate((metric, against)))
            if isfinite(rho := spearman(here, there)):
                found.append(
                    Agreement(metric=metric, against=against, spearman=rho, num_trials=len(pairs), share=deep.share)
                )
    return found


def _importance(space: Mapping[str, Range], metric: str, seen: Scored) -> dict[str, float]:
    pairs = [(t, oriented(metric, v[metric])) for t, v in seen if metric in v]
    score = np.array([s for _, s in pairs])
    if len(pairs) < FEWEST or score.std() == 0:
        return {}
    found = {key: _explained(key, values, [t for t, _ in pairs], score) for key, values in space.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _explained(key: str, values: Range, trials: Sequence[Trial], score: NDArray[np.float64]) -> float:
    """Adjusted R^2 of score on one key: a mean per choice, else a quadratic in its place in the range."""
    if values.choice is not None:
        group = np.array([values.choice.index(t.changes[key]) for t in trials])
        columns = (group[:, None] == np.unique(group)).astype(float)  # [N, choices]
    else:
        x = np.array([place(values, t.changes[key]) for t in trials])
        columns = np.stack([np.ones_like(x), x, x**2], axis=1)  # [N, 3]
    rank = int(np.linalg.matrix_rank(columns))
    if rank >= len(score):
        return 0.0
    rest = score - columns @ np.linalg.lstsq(columns, score, rcond=None)[0]
    unexplained = (rest @ rest / (len(score) - rank)) / score.var(ddof=1)
    return float(np.clip(1 - unexplained, 0, 1))


def _rungs(campaign: Campaign) -> list[Rung]:
    tune, trials = campaign.plan.tune, campaign.of("search")
    found = []
    for number in halving.rungs(tune.looks, tune.grace, tune.reduction) if tune.scheduler == "asha" else ():
        there = [(t, milestones(t.total, tune.looks)[number - 1]) for t in trials if t.looks]
        reached = [(t, step) for t, step in there if t.look_at(step) is not None]
        ended = [(campaign.score(t, step), campaign.score(t)) for t, step in reached if t.state == "done"]
        rho = spearman(*zip(*ended, strict=True)) if len(ended) >= 3 and np.isfinite(ended).all() else None
        found.append(
            Rung(
                share=number / tune.looks,
                reached=len(reached),
                stopped=sum(t.state == "stopped" and t.step == step for t, step in reached),
                spearman=rho if rho is not None and isfinite(rho) else None,
            )
        )
    return found


def _cost(campaign: Campaign) -> Cost:
    search = [trial for trial in campaign.of("search") if trial.step]
    paces = [pace for trial in search if trial.state == "done" and (pace := _pace(trial)) is not None]
    usual = fmean(paces) if paces else None

    def in_full(trial: Trial) -> float:
        if trial.state != "stopped":
            return trial.seconds
        own = _pace(trial)
        pace = own if own is not None else usual if usual is not None else trial.seconds / trial.step
        return trial.seconds + (trial.total - trial.step) * pace

    return Cost(
        spent=sum(trial.seconds for trial in search),
        in_full=sum(map(in_full, search)),
        confirmation=sum(trial.seconds for trial in campaign.of("confirm", "default")),
    )


def _pace(trial: Trial) -> float | None:
    """Seconds per step between the first and the newest look, so without the start; None: one look only."""
    if len(trial.looks) < 2:
        return None
    first, last = trial.looks[0], trial.looks[-1]
    return (last.seconds - first.seconds) / (last.step - first.step)


def _advice(metric: str, agreements: Sequence[Agreement]) -> list[str]:
    held = [a for a in agreements if a.against == JUDGES[0] and not METRICS[a.metric].needs_labels]
    lines = [
        f"{each.metric} ranked these trials backwards (Spearman {each.spearman:+.2f} against {each.against}, "
        f"{each.num_trials} trials): do not choose by it here"
        for each in held
        if each.spearman < -each.chance
    ]
    if unsure := [f"{a.metric} ({a.spearman:+.2f})" for a in held if abs(a.spearman) <= a.chance]:
        lines.append(f"too few trials to say how these ranked them (Spearman against {JUDGES[0]}): {', '.join(unsure)}")
    if not METRICS[metric].needs_labels and not agreements:
        lines.append(f"{metric} needs no labels, and without labels nothing says how well it ranked these trials")
    return lines
