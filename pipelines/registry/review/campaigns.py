"""Reads which campaign an encoder won: from the tags of its run, and the report of the campaign's own run."""

import json
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.registry.registry import Registry, Run
from pipelines.registry.review.facts import Place

CAMPAIGN = "report.json"
"""What a tuning campaign found, beside its report."""
VERDICT, RUN, TRIAL, TRIALS = (f"selfray.campaign.{what}" for what in ("verdict", "run", "trial", "trials"))
"""Tags of the version and of its run: the campaign's verdict, id of its run, the trial that won, of how many."""


def place(registry: Registry, run: Run) -> Place | None:
    """Of the run that a version was registered by; None: it is no winner of a campaign that is known."""
    tags = run.data.tags
    if VERDICT not in tags:
        return None
    campaign = tags.get(RUN, "")
    try:
        report = registry.artifacts(campaign, "report") / "report" / CAMPAIGN
    except UserError:  # its run was deleted: the verdict stands all the same
        report = Path(CAMPAIGN)
    found = of_report(report) if report.exists() else None
    return Place(
        verdict=tags[VERDICT],
        num_trials=int(tags.get(TRIALS, 0)),
        values=found.values if found else {},
        trial=int(tags[TRIAL]) if TRIAL in tags else None,
        run_id=campaign,
        experiment_id=run.info.experiment_id,
    )


def of_report(path: Path) -> Place | None:
    """From a campaign's report.json; read as plain CAMPAIGN, since only a few of its lines are shown."""
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    best = winner(found)
    return Place(
        verdict=found["verdict"],
        num_trials=sum(trial["kind"] == "search" for trial in found["trials"]),
        values={key: f"{value} of {_range(found['space'].get(key))}" for key, value in best["changes"].items()},
        trial=best["number"],
    )


def winner(found: dict[str, Any]) -> dict[str, Any]:
    """The record of the trial that won."""
    best: dict[str, Any] = next(trial for trial in found["trials"] if trial["number"] == found["winner"])
    return best


def _range(values: dict[str, Any] | None) -> str:
    kind, given = next(((k, v) for k, v in (values or {}).items() if v is not None), ("", ""))
    return f"{kind} {given}".strip() or "its range"


def campaign_line(verdict: str, trial: int | None, num_trials: int) -> str:
    """The outcome as one sentence, e.g. `Campaign: not better than ...; won by trial 1 of 4.`"""
    won = "" if trial is None else f"; won by trial {trial} of {num_trials}"
    return f"Campaign: {' '.join(verdict.split())}{won}."
