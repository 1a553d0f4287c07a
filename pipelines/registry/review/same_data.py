"""Two versions on the same test samples, though their own evaluations were on different data."""

import json
import shlex
from dataclasses import replace
from typing import Any

from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.parse import with_changes
from pipelines.registry.registry import Registry
from pipelines.registry.review import gather, overlaps
from pipelines.registry.review.comparison import Comparison, compare
from pipelines.registry.review.facts import Elsewhere, Facts, Subject
from pipelines.tracking import server as store

Pair = tuple[Subject, Subject]


def against(server: Registry, first: Subject, second: Subject) -> tuple[Comparison, Pair]:
    """What the second gains on the first, and the two with the scores that this was taken from.

    By their own evaluations; where these cannot be paired, by those of `selfray evaluate NAME/3 --on DATA`; where there
    are none either, the comparison says what to run.
    """
    found = compare(first, second)
    if not found.unpaired or not (first.facts.name and second.facts.name):
        return found, (first, second)
    pair = scored(server, first, second)
    if pair is None:
        return _with_needs(found, _needs(server, first, second)), (first, second)
    found = compare(*pair)
    if not found.unpaired:
        runs = [each.facts.lineage.run_id for each in pair]
        seen = [o for each in pair if each.facts.scores for o in overlaps.of(each.facts.scores, _by(each.facts))]
        more = {"evaluations": f"the evaluations by runs {' and '.join(runs)}", "overlaps": tuple(seen)}
        return found.model_copy(update=more), pair
    if all(each.facts.headline for each in pair):  # by other protocols, say
        both = " and ".join(f"`{command(server, each, pair[1])}`" for each in (first, second))
        return _with_needs(found, both), pair
    return _with_needs(found, _needs(server, first, second)), pair


def labelled(server: Registry, subject: Subject) -> Subject | None:
    """A registered version with scores: its own, or those of its newest evaluation on data that have labels."""
    if subject.facts.headline:
        return subject
    for run_id in (run_id for runs in _runs(server, subject.facts).values() for run_id in runs):
        found = _scored_by(server, subject, run_id)
        if found.facts.headline:
            return found
    return None


def elsewhere(found: Subject) -> Elsewhere:
    """What a version that `labelled` or `against` found on other data adds to the facts of its own run."""
    facts = found.facts
    if facts.scores is None:
        raise ValueError(f"{facts.title}: was not scored by run {facts.lineage.run_id}")
    return Elsewhere(run_id=facts.lineage.run_id, folder=facts.data.folder, scores=facts.scores)


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


def command(server: Registry, version: Subject, like: Subject) -> str:
    """What scores a version on the data that another was scored on, by the same probes and tasks."""
    data = like.facts.data.folder or "DATA"
    command = ["selfray", "evaluate", f"{version.facts.name}/{version.facts.version}", "--on", data]
    command += ["--set", f"tracking.uri={store.shown(server.uri)}"]
    asked = with_changes({}, {k: v for k, v in like.facts.config.items() if k.startswith("evaluate.")})
    usual = EvaluateConfig().model_dump(mode="json")
    for key in ("probes", "tasks", "robustness", "fine_tune"):
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
    """The same encoder with the scores of another run, the data it scored them on and what it asked."""
    if run_id == subject.facts.lineage.run_id:
        return subject
    found = gather.of_run(server, run_id)
    lineage = subject.facts.lineage.model_copy(update={"run_id": run_id, "shards": found.facts.lineage.shards})
    asked = {key: value for key, value in found.facts.config.items() if key.startswith("evaluate.")}
    update: dict[str, Any] = {"scores": found.facts.scores, "data": found.facts.data, "lineage": lineage}
    update |= {"config": {**subject.facts.config, **asked}}
    return replace(found, facts=subject.facts.model_copy(update=update), rules=subject.rules)


def _needs(server: Registry, first: Subject, second: Subject) -> str:
    """What scores one of two on labelled data of the other, the second's own before all; empty: there are none."""
    ours, theirs = (labelled(server, each) for each in (first, second))
    if theirs is not None and (second.facts.headline or ours is None):
        return _scores(server, first, theirs)
    return "" if ours is None else _scores(server, second, ours)


def _scores(server: Registry, version: Subject, like: Subject) -> str:
    return f"`{command(server, version, like)}` scores {version.facts.title} on the data of {like.facts.title}"


def _with_needs(found: Comparison, needs: str) -> Comparison:
    return found.model_copy(
        update={"unpaired": f"{found.unpaired}; {needs}" if needs else found.unpaired, "needs": needs}
    )


def _by(facts: Facts) -> str:
    return f" of {facts.title}, run {facts.lineage.run_id[:8]}"
