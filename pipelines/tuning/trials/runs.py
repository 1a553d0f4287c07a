"""A campaign in MLflow: its trials as child runs of the campaign's run, one request per look and four more per trial.

The four: make the run, its params, its state, its end; of a trial that is gone on with: look at the run, set it to
running, its state, its end. Only where a process died before it wrote the run's id down is one more looked for first.

Like every stage it writes to disk first: a look goes into the `metrics.jsonl` of the trial's folder, a thread ships
it (tracking/shipping.py), and a server that is away loses nothing. Runs are ended by a thread too: a campaign decides
under a lock, and no decision waits for a server.
"""

import logging
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.registry.artifact import ModelVersion
from pipelines.storage import outbox
from pipelines.tracking import children, runs, shipping
from pipelines.tracking import server as store
from pipelines.tracking.children import Child
from pipelines.tracking.server import Value, reached
from pipelines.tracking.shipping import Shipper, Unreachable
from pipelines.tuning import candidate, records
from pipelines.tuning.outcome.findings import Findings
from pipelines.tuning.records import OPEN, State, Trial

if TYPE_CHECKING:
    from pipelines.tracking.runs import Tracked

STATUS: dict[State, str] = {"done": "FINISHED", "failed": "FAILED", "stopped": "FINISHED", "collapsed": "FAILED"}
PATIENCE_S = 10.0
"""For a server that is away, at the first trial that ends meanwhile."""
CLOSING_S = 60.0
"""How long the end of a campaign waits for all runs to be ended."""

logger = logging.getLogger("selfray.tracking")


class TrialRuns:
    """Listens to a campaign and keeps one child run per trial."""

    def __init__(self, campaign: Path):
        """campaign: its folder. Where the server was away when the campaign began, points stay on disk."""
        self._campaign = campaign
        self._before = {trial.number for trial in records.trials(campaign)}
        """Trials of earlier processes: one may have made a run and died before it wrote the run's id down."""
        self._shippers: dict[int, Shipper] = {}
        self._tracked = _reachable()
        self._ended: queue.SimpleQueue[Trial | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._end_all, name="end the runs of trials", daemon=True)
        self._thread.start()

    def __call__(self, trial: Trial) -> None:
        """A trial has changed; its record is on disk."""
        folder = self._campaign / "trials" / trial.folder_name
        known = {point.step for point in outbox.read(folder)}
        for look in trial.looks:
            if look.step not in known:
                metrics = {**look.values, "seconds": look.seconds}
                outbox.append(folder, step=look.step, total=trial.total, metrics=metrics, final=True)
        if self._tracked is None or trial.state == "waiting":
            return
        if trial.number not in self._shippers:
            self._shippers[trial.number] = children.shipper(
                self._tracked, _child(folder, trial), go_on=store.runs_again, tried=trial.number in self._before
            )
            if trial.state in OPEN:
                self._shippers[trial.number].start()
        if trial.state not in OPEN:
            self._ended.put(trial)

    def close(self, trials: list[Trial]) -> None:
        """End what is open: the trials that were interrupted, and those that ended while a server was away.

        Returns after `CLOSING_S` at the latest; what is left then is shipped by the same command again.
        """
        for trial in trials:
            if trial.state not in OPEN and trial.number not in self._shippers:  # of an earlier process
                known = shipping.state(self._campaign / "trials" / trial.folder_name)
                if known is None or not known.done:
                    self(trial)
        for trial in trials:
            if trial.state == "running" and trial.number in self._shippers:
                self._ended.put(trial)
        self._ended.put(None)
        self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            logger.warning(
                "tracking: slow; what has not arrived is kept in %s, the same command ships it", self._campaign
            )

    def _end_all(self) -> None:
        """End runs one after the other as their trials end; those that the server was away for once more at last."""
        late: list[Trial] = []
        for trial in iter(self._ended.get, None):
            if not self._end(trial, 0 if late else PATIENCE_S):
                late.append(trial)
        for trial in late:
            self._end(trial, 0)

    def _end(self, trial: Trial, patience_s: float) -> bool:
        """Whether the server knows how the trial ended."""
        shipper = self._shippers[trial.number]
        try:
            run_id = shipper.close(patience_s)
            if self._tracked is not None:
                with reached():
                    self._tracked.client.set_tag(run_id, "selfray.state", _said(trial))
                    self._tracked.client.set_terminated(run_id, STATUS.get(trial.state, "KILLED"))
                if trial.state not in OPEN:
                    shipper.mark_done()
            return True
        except (Unreachable, UserError) as error:  # UserError: a damaged outbox; the others are ended all the same
            logger.warning("tracking: %s; trial %d is kept in %s", error, trial.number, self._campaign)
            return False


def finish(found: Findings, report: Path) -> None:
    """The outcome on the campaign's own run: best scores, verdict, the report's files."""
    tracked = _reachable()
    if tracked is None:
        return
    best, now = found.best, time.time_ns() // 1_000_000
    values = {f"best/{name}": value for name, value in (best.looks[-1].values if best.looks else {}).items()}
    values |= candidate.confirmed(found)
    values |= {"cost/trial_seconds": found.cost.spent, "cost/in_full_seconds": found.cost.in_full}
    try:
        with reached(store.UPLOAD_TIMEOUT_S):
            store.log_values(tracked.client, tracked.run_id, [Value(n, now, 0, v) for n, v in values.items()])
            tracked.client.set_tag(tracked.run_id, "selfray.verdict", found.verdict[:5000])
            tracked.client.set_tag(tracked.run_id, "selfray.winner", str(found.winner))
            tracked.client.set_tag(tracked.run_id, candidate.NOTE, candidate.about(found, tracked))
            tracked.client.log_artifacts(tracked.run_id, str(report), "report")
    except Unreachable as error:
        logger.warning("tracking: %s; the report is in %s, the same command again uploads it", error, report)


def link(made: ModelVersion) -> None:
    """Name the registered winner on the campaign's run."""
    tracked = _reachable()
    try:
        if tracked is None:
            raise Unreachable("the server was away when the campaign began")
        with reached():
            tracked.client.set_tag(tracked.run_id, "selfray.candidate", f"{made.name} version {made.version}")
    except Unreachable as error:
        logger.warning("tracking: %s; the campaign's run does not name its winner", error)


def _reachable() -> "Tracked | None":
    """The campaign's run; None: the server was away when it began, so everything stays on disk."""
    try:
        return runs.current()
    except UserError:
        return None


def _child(folder: Path, trial: Trial) -> Child:
    return Child(
        folder,
        stage="trial",
        title=f"trial {trial.number}" if trial.kind == "search" else f"{trial.kind} {trial.number}",
        tags={"selfray.kind": trial.kind, "selfray.identity": trial.identity, "selfray.work": str(trial.work)},
        params={"trial": trial.number, **trial.changes},
    )


def _said(trial: Trial) -> str:
    return f"{trial.state}: {trial.reason}"[:5000] if trial.reason else trial.state
