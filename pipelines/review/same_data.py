"""Two versions on the same test samples, though their own evaluations were on different data."""

import json
import shlex
from dataclasses import replace

from pipelines import mlflow_store as store
from pipelines.evaluate_config import EvaluateConfig
from pipelines.review import gather
from pipelines.review.facts import Facts, Subject
from pipelines.review.registry import Registry


def scored(server: Registry, first: Subject, second: Subject) -> tuple[Subject, Subject] | None:
    """Two versions as they were scored on the same data, the second's own if the first was scored on these as well.

    What `selfray evaluate NAME/3 --on DATA` found counts like a version's own evaluation. None: there is no such data.
    """
    ours, theirs = (_runs(server, each.facts) for each in (first, second))
    for data, run_id in theirs.items():
        if data in ours:
            return _scored_by(server, first, ours[data]), _scored_by(server, second, run_id)
    return None


def command(server: Registry, champion: Subject, subject: Subject) -> str:
    """The command after which both were scored on the same data, by the same probes."""
    probes, data = subject.facts.config.get("evaluate.probes"), subject.facts.data.folder or "DATA"
    command = ["selfray", "evaluate", f"{champion.facts.name}/{champion.facts.version}", "--on", data]
    command += ["--set", f"tracking.uri={store.shown(server.uri)}"]
    if probes is not None and probes != EvaluateConfig().model_dump(mode="json")["probes"]:
        command += ["--set", f"evaluate.probes={json.dumps(probes)}"]
    return shlex.join(command)


def _runs(server: Registry, facts: Facts) -> dict[str, str]:
    """Data that a version was scored on -> the run that did it, its own first, then the newest."""
    mine = {"selfray.model": facts.name, "selfray.model_version": facts.version, "selfray.sha256": facts.lineage.sha256}
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in mine.items())
    with server.asked():
        everywhere = [each.experiment_id for each in server.client.search_experiments()]
        query += " and attributes.status = 'FINISHED'"
        runs = server.client.search_runs(everywhere, query, order_by=["attributes.start_time DESC"], max_results=100)
    found = {facts.lineage.data_key: facts.lineage.run_id}
    for run in runs:
        found.setdefault(gather.scored_on(run), run.info.run_id)
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
