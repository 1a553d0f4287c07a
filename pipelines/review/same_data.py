"""Two versions on the same test samples, though their own evaluations were on different data."""

import json
import shlex
from dataclasses import replace

from pipelines import mlflow_store as store
from pipelines.config import with_changes
from pipelines.evaluate_config import EvaluateConfig
from pipelines.review import gather
from pipelines.review.comparison import compare
from pipelines.review.facts import Facts, Subject
from pipelines.review.registry import Registry


def scored(server: Registry, first: Subject, second: Subject) -> tuple[Subject, Subject] | None:
    """Two versions as they were scored on the same data, the second's own if the first was scored on these as well.

    What `selfray evaluate NAME/3 --on DATA` found counts like a version's own evaluation, and instead of it where the
    two cannot be paired otherwise: by other protocols, say. None: there is no such data.
    """
    ours, theirs = (_runs(server, each.facts) for each in (first, second))
    unpaired = None
    for data in (data for data in theirs if data in ours):
        for place in (0, 1):  # the first of each, then the newest of each
            a, b = (runs[data][min(place, len(runs[data]) - 1)] for runs in (ours, theirs))
            pair = _scored_by(server, first, a), _scored_by(server, second, b)
            if not compare(*pair).unpaired:
                return pair
            unpaired = unpaired or pair
    return unpaired


def command(server: Registry, champion: Subject, subject: Subject) -> str:
    """The command after which both were scored on the same data, by the same probes and tasks."""
    data = subject.facts.data.folder or "DATA"
    command = ["selfray", "evaluate", f"{champion.facts.name}/{champion.facts.version}", "--on", data]
    command += ["--set", f"tracking.uri={store.shown(server.uri)}"]
    asked = with_changes({}, {k: v for k, v in subject.facts.config.items() if k.startswith("evaluate.")})
    usual = EvaluateConfig().model_dump(mode="json")
    for key in ("probes", "robustness", "fine_tune"):
        if (wanted := asked.get("evaluate", {}).get(key)) not in (None, usual[key]):
            command += ["--set", f"evaluate.{key}={json.dumps(wanted)}"]
    return shlex.join(command)


def _runs(server: Registry, facts: Facts) -> dict[str, list[str]]:
    """Data that a version was scored on -> the runs that did it: its own, then from the newest on."""
    mine = {"selfray.model": facts.name, "selfray.model_version": facts.version, "selfray.sha256": facts.lineage.sha256}
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in mine.items())
    with server.asked():
        everywhere = [each.experiment_id for each in server.client.search_experiments()]
        query += " and attributes.status = 'FINISHED'"
        runs = server.client.search_runs(everywhere, query, order_by=["attributes.start_time DESC"], max_results=100)
    found = {facts.lineage.data_key: [facts.lineage.run_id]}
    for run in runs:
        found.setdefault(gather.scored_on(run), []).append(run.info.run_id)
    found.pop("", None)  # not recorded
    return found


def _scored_by(server: Registry, subject: Subject, run_id: str) -> Subject:
    """The same encoder with the scores of another run."""
    if run_id == subject.facts.lineage.run_id:
        return subject
    found = gather.of_run(server, run_id)
    lineage = subject.facts.lineage.model_copy(update={"run_id": run_id, "shards": found.facts.lineage.shards})
    facts = subject.facts.model_copy(update={"scores": found.facts.scores, "lineage": lineage})
    return replace(subject, facts=facts, outcomes=found.outcomes)
