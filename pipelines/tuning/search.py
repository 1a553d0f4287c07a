"""What to try next: a pure function of the space, the seed, the trial's number and the records so far.

No searcher lives between two suggestions, so a campaign that was killed asks the same question again and
gets the same answer.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.config.tune import Range, TuneConfig, oriented
from pipelines.tuning.records import OPEN, Trial
from pipelines.tuning.space import Changes, Space, at, grid, num_points
from ssl_core.noise import keyed_uniform, salt

if TYPE_CHECKING:
    import optuna

_TRIES = 64
_SEARCH = 0x7E5


def suggest(tune: TuneConfig, seed: int, told: Sequence[Trial], identify: Callable[[Changes], str]) -> Changes | None:
    """The next config to try; None: every config of a finite space has been tried.

    Args:
        told: the search trials so far, those that still run included.
        identify: the identity of a config; two that are one training under different names have the same.
    """
    tried = {trial.identity for trial in told}
    return next((changes for changes in _ideas(tune, seed, told) if identify(changes) not in tried), None)


def num_planned(tune: TuneConfig) -> int:
    """Search trials of the whole campaign; fewer run where several configs of a finite space are one training."""
    points = num_points(tune.space)
    return tune.num_trials if points is None else min(tune.num_trials, points)


def _ideas(tune: TuneConfig, seed: int, told: Sequence[Trial]) -> Iterator[Changes]:
    """Candidates in order of preference; of a finite space all of them, sooner or later."""
    finite = num_points(tune.space) is not None
    if tune.searcher == "grid":
        yield from grid(tune.space, salt(seed, _SEARCH))
        return
    for attempt in range(_TRIES):
        key = salt(seed, _SEARCH, len(told), attempt)
        yield _random(tune.space, key) if tune.searcher == "random" else _optuna(tune, key, told)
    if finite:
        yield from grid(tune.space, salt(seed, _SEARCH, len(told)))


def _random(space: Space, key: int) -> Changes:
    u = keyed_uniform(np.zeros(1, np.int64), len(space), key)[0]  # [keys]
    return {name: at(values, float(x)) for (name, values), x in zip(space.items(), u, strict=True)}


def _optuna(tune: TuneConfig, key: int, told: Sequence[Trial]) -> Changes:
    """Tree-structured Parzen estimator on the records; stopped trials count with their last score."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    first = min(10, max(4, tune.num_trials // 4))  # drawn at random before the model is worth asking
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # multivariate is marked as experimental
        sampler = optuna.samplers.TPESampler(
            seed=key % (1 << 32), n_startup_trials=first, multivariate=True, constant_liar=True
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        distributions = {name: _distribution(values) for name, values in tune.space.items()}
        for trial in told:
            study.add_trial(_told(tune, trial, distributions))
        params = study.ask(distributions).params
    return {name: _value(values, params[name]) for name, values in tune.space.items()}


def _told(tune: TuneConfig, trial: Trial, distributions: dict[str, Any]) -> "optuna.trial.FrozenTrial":
    import optuna

    seen = {look.step: look.values.get(tune.metric) for look in trial.looks}  # alpha-ReQ may have been infinite
    scores = {step: oriented(tune.metric, value) for step, value in seen.items() if value is not None}
    states = optuna.trial.TrialState
    state = states.COMPLETE if trial.state == "done" else states.RUNNING if trial.state in OPEN else states.PRUNED
    if trial.state == "failed" or (state == states.PRUNED and not scores):
        state = states.FAIL
    params = {
        name: values.choice.index(trial.changes[name]) if values.choice is not None else trial.changes[name]
        for name, values in tune.space.items()
    }
    return optuna.trial.create_trial(
        state=state,
        value=list(scores.values())[-1] if state == states.COMPLETE else None,
        params=params,
        distributions=distributions,
        intermediate_values=scores,
    )


def _distribution(values: Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if values.choice is not None:  # by place: a choice may be a whole section
        return CategoricalDistribution(tuple(range(len(values.choice))))
    if values.int is not None:
        return IntDistribution(*values.int)
    low, high = values.ends
    return FloatDistribution(low, high, log=values.loguniform is not None)


def _value(values: Range, chosen: Any) -> Any:
    if values.choice is not None:
        return values.choice[chosen]
    if values.int is not None:
        return int(chosen)
    return min(max(float(f"{chosen:.4g}"), values.ends[0]), values.ends[1])
