"""What the user sees of a campaign: one live table on a terminal, a line per change otherwise."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean

from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.tracking.display import clock, console, repeating, say
from pipelines.tuning.campaign import Campaign
from pipelines.tuning.confirm import num_trainings
from pipelines.tuning.records import OPEN, Trial

ROWS = 30
"""The best and the newest; a campaign may have hundreds."""


@contextmanager
def watch(campaign: Campaign, at_a_time: int) -> Iterator[None]:
    """Show the campaign while the body runs."""
    began, lines = time.monotonic(), _Lines(campaign)
    if not console.is_terminal:
        try:
            with repeating(0.5, lines.news):
                yield
        finally:
            lines.news()
        return
    with Live(console=console, auto_refresh=False) as live:

        def draw() -> None:
            live.update(table(campaign, began, at_a_time), refresh=True)

        try:
            with repeating(0.5, draw):
                yield
        finally:
            draw()


class Troubles:
    """Trials that came to nothing, said once more when the live table is gone: in its course they are easily missed."""

    def __init__(self) -> None:
        self._said: set[int] = set()

    def say(self, trials: Sequence[Trial]) -> None:
        """One line for each that failed or collapsed and was not said yet; and whether trying again may help."""
        for trial in trials:
            if trial.state in ("failed", "collapsed") and trial.number not in self._said:
                self._said.add(trial.number)
                say(f"tune: trial {trial.number} {trial.state}: {trial.reason}")
        if curable := sum(trial.curable for trial in trials):
            say(f"tune: {curable} trials failed for reasons that may pass: the same command tries them again")


def table(campaign: Campaign, began: float, at_a_time: int) -> Table:
    """Trials, state, score, values; in the caption the best so far and how long it may still take."""
    metric, trials = campaign.plan.tune.metric, campaign.trials
    shown = sorted(trials, key=lambda t: (t.state not in OPEN, -campaign.score(t), t.number))[:ROWS]
    made = Table(
        title=f"campaign {campaign.folder.name}", caption=status(campaign, began, at_a_time), title_justify="left"
    )
    for column, justify in (
        ("trial", "right"),
        ("state", "left"),
        (metric, "right"),
        ("done", "right"),
        ("time", "right"),
    ):
        made.add_column(column, justify=justify)  # type: ignore[arg-type]
    for key in headers(list(campaign.plan.tune.space)):
        made.add_column(key, justify="right", overflow="fold")
    for trial in sorted(shown, key=lambda t: t.number):
        style = {"running": "bold", "failed": "red", "collapsed": "red", "stopped": "dim"}.get(trial.state, "")
        values = [_value(trial.changes.get(key, "-")) for key in campaign.plan.tune.space]
        kind = "" if trial.kind == "search" else f" ({trial.kind})"
        cells = [f"{trial.number}", f"{trial.state}{kind}", _score(trial, metric), _share(trial), clock(trial.seconds)]
        made.add_row(*(Text(cell, style=style) for cell in (*cells, *values)))  # Text: values are not markup
    return made


def headers(keys: Sequence[str]) -> list[str]:
    """As few of the last parts of each dotted key as no other key ends in."""

    def ends(key: str) -> Iterator[str]:
        parts = key.split(".")
        yield from (".".join(parts[i:]) for i in reversed(range(len(parts))))

    def shared(end: str) -> bool:
        return sum(key == end or key.endswith(f".{end}") for key in keys) > 1

    return [next((end for end in ends(key) if not shared(end)), key) for key in keys]


def status(campaign: Campaign, began: float, at_a_time: int) -> str:
    """One line: how many are done, the best so far, ETA."""
    metric, trials = campaign.plan.tune.metric, campaign.trials
    said = [f"{sum(t.state not in OPEN for t in trials)} of {campaign.num_planned} trials"]
    if best := campaign.ranked():
        said.append(f"best of one seed: {metric} {_score(best[0], metric)} (trial {best[0].number})")
    elif seen := [t for t in campaign.of("search") if t.value(metric) is not None]:
        first = max(seen, key=campaign.score)
        said.append(f"best look so far {metric} {_score(first, metric)} (trial {first.number} at {_share(first)})")
    if left := seconds_left(campaign):
        said.append(f"ETA {clock(left / at_a_time)}")
    return f"{', '.join(said)}, running for {clock(time.monotonic() - began)}"


def seconds_left(campaign: Campaign) -> float | None:
    """Trial-seconds that the rest is likely to take, the confirmations included; None: no trial has ended yet.

    A search trial takes what those that ended took on average, many of them stopped early; a confirmation a whole
    training.
    """
    search, wanted = campaign.of("search"), campaign.plan.tune.confirm
    ended = [t for t in search if t.state not in OPEN]
    timed = [t for t in ended if t.seconds]
    if not timed:
        return None
    whole = [t.seconds for t in campaign.trials if t.state == "done"] or [t.seconds * t.total / t.step for t in timed]
    confirming = campaign.of("confirm", "default")
    confirmations = sum(t.state in OPEN for t in confirming)
    if not confirming:
        confirmations = num_trainings(wanted, campaign.num_searched)
    searches = campaign.num_searched - len(ended)
    return searches * fmean(t.seconds for t in timed) + confirmations * fmean(whole)


class _Lines:
    """For logs and pipes: a line when a trial begins, is looked at or ends."""

    def __init__(self, campaign: Campaign):
        self._campaign = campaign
        self._seen = {trial.number: trial for trial in campaign.trials}

    def news(self) -> None:
        for trial in self._campaign.trials:
            if trial != self._seen.get(trial.number) and trial.state != "waiting":
                self._seen[trial.number] = trial
                say(f"tune  {line(trial, self._campaign.plan.tune.metric)}")


def line(trial: Trial, metric: str) -> str:
    changes = ", ".join(f"{key}={_value(value)}" for key, value in trial.changes.items())
    said = f"trial {trial.number}{'' if trial.kind == 'search' else f' ({trial.kind})'} {trial.state}"
    at = f" {_share(trial)} {metric} {_score(trial, metric)}" if trial.looks else ""
    return f"{said}{at}  {changes}" + (f"  ({trial.reason})" if trial.reason else "")


def _score(trial: Trial, metric: str) -> str:
    value = trial.value(metric)
    return "-" if value is None else f"{value:.3f}"


def _share(trial: Trial) -> str:
    return f"{trial.step / trial.total:.0%}" if trial.total else "-"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
