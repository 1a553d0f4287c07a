"""The decisions of a campaign: what runs next, what goes on. Free of Ray; every decision is on disk first."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.config.flat import fingerprint
from pipelines.config.run import RunConfig, identity
from pipelines.config.tune import oriented
from pipelines.errors import UserError
from pipelines.storage.signals import STOP
from pipelines.tuning import halving, records
from pipelines.tuning.plan import Plan, milestones
from pipelines.tuning.records import OPEN, Kind, Look, State, Trial
from pipelines.tuning.search import num_planned, suggest
from pipelines.tuning.space import Changes

Work = Callable[[RunConfig], tuple[Path, int]]
"""Where a config trains, and its number of steps."""
Listener = Callable[[Trial], None]


class Campaign:
    """Answers the runner's questions from the records; one runner asks, any thread may look."""

    def __init__(self, plan: Plan, folder: Path, seed: int, work: Work, listeners: Sequence[Listener] = ()):
        """
        Args:
            folder: of the campaign; what lies there is gone on with, and trials that a rerun may cure wait again.
            seed: of the recipe; keys what is tried.
            listeners: told of each change of a trial after it is on disk.
        """
        self.plan, self.folder, self.seed = plan, folder, seed
        self._work, self._listeners = work, listeners
        self._lock = threading.RLock()
        again = {"state": "waiting", "reason": "", "curable": False}
        self._trials = {t.number: t.with_(**again) if t.curable else t for t in records.trials(folder)}
        self._started: set[int] = set()
        self._identities: dict[str, str] = {}  # a config takes milliseconds to resolve, and is asked for often
        self._exhausted = False
        self.stopping = False
        self.fault: UserError | None = None
        """Why the campaign itself cannot go on."""

    @property
    def trials(self) -> list[Trial]:
        with self._lock:
            return list(self._trials.values())

    def of(self, *kinds: str) -> list[Trial]:
        return [trial for trial in self.trials if trial.kind in kinds]

    @property
    def num_planned(self) -> int:
        """Trials of the phases so far."""
        return self.num_searched + len(self.of("confirm", "default"))

    @property
    def num_searched(self) -> int:
        """Search trials that there will be."""
        there = len(self.of("search"))
        return there if self._exhausted else max(num_planned(self.plan.tune), there)

    def identity(self, changes: Changes) -> str:
        """Hash of the whole resolved config, so two ways to write one config have the same; else of `changes`."""
        key = fingerprint(changes)
        if key not in self._identities:
            try:
                self._identities[key] = identity(self.plan.config(changes))
            except UserError:  # the values do not fit together
                self._identities[key] = key
        return self._identities[key]

    def next_search(self) -> Trial | None:
        """The search trial to run now: first what an earlier process left open, then new ones; None: that was all."""
        with self._lock:
            if not self.stopping and (left := self._left_open("search")) is not None:
                return self._start(left)
            while not self.stopping and len(told := self.of("search")) < num_planned(self.plan.tune):
                changes = suggest(self.plan.tune, self.seed, told, self.identity)
                if changes is None:
                    self._exhausted = True
                    return None
                if (trial := self._add("search", changes)).state in OPEN:
                    return self._start(trial)
            return None

    def want(self, kind: Kind, changes: Changes, of: int | None) -> Trial:
        """Add a confirmation trial, or find the one that does the same: two in one folder would be in each other's way.

        So where one of the best is the recipe's own config, the trials of the latter confirm it.
        """
        with self._lock:
            for trial in self.of("confirm", "default"):
                if trial.identity == self.identity(changes):
                    return trial
            return self._add(kind, changes, of)

    def next_confirmation(self) -> Trial | None:
        with self._lock:
            left = None if self.stopping else self._left_open("confirm", "default")
            return None if left is None else self._start(left)

    def looked(self, number: int, look: Look) -> None:
        """A trial was looked at: decide what becomes of it. A look that is known already changes nothing."""
        with self._lock:
            trial = self._trials[number]
            if trial.look_at(look.step) is not None or trial.state not in OPEN:
                return
            trial = trial.with_(looks=(*trial.looks, look), state="running")
            state, reason = self._verdict(trial, look)
            self._keep(trial.with_(state=state, reason=reason))

    def failed(self, number: int, reason: str, *, curable: bool = False) -> None:
        """A trial has ended by an error; `curable`: when the campaign is opened again, it waits again."""
        with self._lock:
            if self._trials[number].state in OPEN:
                self._keep(self._trials[number].with_(state="failed", reason=reason, curable=curable))

    def stop(self) -> None:
        """Let no trial begin, and ask those that run to stop at a checkpoint."""
        with self._lock:
            self.stopping = True
            (self.folder / STOP).touch()

    def ranked(self) -> list[Trial]:
        """The search trials that were trained in full, best first."""
        done = [trial for trial in self.of("search") if trial.state == "done"]
        return sorted(done, key=lambda trial: (-self.score(trial), trial.number))

    def itself(self) -> int | None:
        """The trial, of the best that are confirmed, that is the recipe's own config; None: none of them is."""
        own, best = self.identity({}), self.ranked()[: self.plan.tune.confirm.top_k]
        return next((trial.number for trial in best if trial.identity == own), None)

    def score(self, trial: Trial, step: int | None = None) -> float:
        """Of its newest look or of one step, larger is better; minus infinity where there is none."""
        look = trial.look_at(step) if step is not None else trial.looks[-1] if trial.looks else None
        value = look.values.get(self.plan.tune.metric) if look else None
        return float("-inf") if value is None else oriented(self.plan.tune.metric, value)

    def _verdict(self, trial: Trial, look: Look) -> tuple[State, str]:
        tune = self.plan.tune
        for gauge, floor in (("feature_std", tune.min_feature_std), ("rankme", tune.min_rankme)):
            if (value := look.values.get(gauge, floor)) < floor:
                return "collapsed", f"{gauge} {value:.3g} at step {look.step} is under tune.min_{gauge} {floor:g}"
        if look.step >= trial.total:
            if tune.metric not in look.values:
                return "failed", f"{tune.metric} could not be had at step {look.step}, its last; nothing ranks it"
            return "done", ""
        if trial.kind != "search" or tune.scheduler == "none":
            return "running", ""
        number = milestones(trial.total, tune.looks).index(look.step) + 1
        if number not in halving.rungs(tune.looks, tune.grace, tune.reduction):
            return "running", ""
        others = [self.score(t, s) for t, s in self._at_rung(number) if t.number != trial.number]
        score = self.score(trial, look.step)
        if halving.goes_on(score, others, tune.reduction):
            return "running", ""
        better = sum(other > score for other in others)
        return "stopped", f"{better} of {len(others)} others were better at step {look.step}"

    def _at_rung(self, look: int) -> list[tuple[Trial, int]]:
        """The search trials that have come to look number `look`, and at which of their steps."""
        there = [(t, milestones(t.total, self.plan.tune.looks)[look - 1]) for t in self.of("search") if t.looks]
        return [(trial, step) for trial, step in there if trial.look_at(step) is not None]

    def _add(self, kind: Kind, changes: Changes, of: int | None = None) -> Trial:
        """Record a new trial; one whose values do not fit together has failed at once."""
        number = max(self._trials, default=-1) + 1  # a damaged record may have been deleted by hand
        new = Trial(number=number, kind=kind, changes=changes, of=of, identity=self.identity(changes))
        try:
            config = self.plan.config(changes)
            work, total = self._work(config)
            milestones(total, self.plan.tune.looks)
        except UserError as error:
            return self._keep(new.with_(state="failed", reason=" ".join(str(error).split())))
        return self._keep(new.with_(work=work, total=total))

    def _left_open(self, *kinds: str) -> Trial | None:
        left = (t for t in self.of(*kinds) if t.state in OPEN and t.number not in self._started)
        return next(left, None)

    def _start(self, trial: Trial) -> Trial:
        self._started.add(trial.number)
        return self._keep(trial.with_(state="running"))

    def _keep(self, trial: Trial) -> Trial:
        try:
            records.keep(self.folder, trial)
            self._trials[trial.number] = trial
            for listener in self._listeners:
                listener(trial)
        except OSError as error:
            text = f"cannot write the record of trial {trial.number} ({error.strerror}); free space, then run the same"
            self.fault = UserError(f"{self.folder}: {text} command again")
            raise self.fault from error
        return trial
