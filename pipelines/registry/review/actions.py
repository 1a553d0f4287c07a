"""What reviewers do: look at a version, promote it, reject it, go back to the champion before."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.config.review import ReviewConfig
from pipelines.errors import UserError
from pipelines.model import versions
from pipelines.model.check import check
from pipelines.model.versions import Reference
from pipelines.registry import decisions
from pipelines.registry.aliases import settle
from pipelines.registry.decisions import MAX_WHY, Decision, Kind, Log
from pipelines.registry.registry import CHAMPION, PREVIOUS, Registry
from pipelines.registry.review import gather, same_data
from pipelines.registry.review.comparison import Comparison
from pipelines.registry.review.facts import Subject
from pipelines.registry.review.gates import judge, verdict
from pipelines.registry.review.outcome import Review
from pipelines.tracking import server as store


@dataclass(frozen=True)
class Case:
    """A version, everything known about it, and the log as it was when that was gathered."""

    review: Review
    subject: Subject
    champion: Subject | None
    pair: same_data.Pair | None
    """Champion and version with the scores that they were compared by; None: there is no champion to compare with."""
    rules: ReviewConfig
    log: Log


def examine(server: Registry, reference: Reference, rules: ReviewConfig | None = None) -> Case:
    """Gather the facts about a version, check its artifact, hold it against the gates and the champion.

    Args:
        rules: the reviewer's; None: those of the version's own recipe.
    Raises:
        UserError: there is no such version, or the server does not answer.
    """
    version, log = server.find(reference), decisions.read(server, reference.name)
    name, number = str(version.name), int(version.version)
    subject = gather.of_version(server, version)
    subject, asked = _described(subject, rules), rules or subject.rules
    champion, against, pair = _champion(server, name, number, subject, _now(server, name, log, CHAMPION))
    subject = _with_scores(server, subject, pair)
    checked = check(f"{name}/{number}", tracking_uri=server.uri)
    judged = judge(asked.gates, subject.facts, checked, against)
    review = Review(
        verdict=verdict(subject.facts, judged, against) + _forced(log, number),
        time=decisions.now(),
        gates=asked.gates,
        gates_from="a file of the reviewer" if rules else "the run's recipe",
        judged=judged,
        facts=subject.facts,
        checked=checked,
        champion=champion.facts if champion else None,
        against=against,
        decisions=log.entries,
        tracking_uri=store.shown(server.uri),
    )
    return Case(review, subject, champion, pair, asked, log)


def promote(
    server: Registry,
    name: str,
    version: int,
    *,
    by: str,
    why: str,
    force: bool = False,
    rules: ReviewConfig | None = None,
) -> list[str]:
    """Make a version the champion; the champion of before becomes `previous`.

    Returns: what was done, in words.

    Raises:
        UserError: a gate fails or it was rejected and `force` is not given, it is the champion already, or somebody
            decided meanwhile.
    """
    _signed(by, why)
    log, said = settle(server, name)
    if _now(server, name, log, CHAMPION) == version:
        raise UserError(f"{name}/{version}: is the champion already; `selfray history {name}` says since when")
    about = log.about(version)
    rejected = about if about and about.kind == "reject" else None
    if rejected and not force:
        raise UserError(f"{name}/{version}: was rejected ({rejected.line()}); `--force` overrides, and is recorded")
    case = examine(server, Reference(name, None, version), rules)
    if case.review.failed and not force:
        raise UserError(f"{name}/{version}: {refusal(case.review)}; `--force` overrides, and is recorded with --why")
    log = case.log
    if case.rules.enforced and not log.enforced:
        log = decisions.enforce(server, name)
        if log.entries != case.log.entries:
            raise UserError(
                f"{name}: somebody decided at the same moment, so this was not done: {log.entries[-1].line()}"
            )
    made = _decision("promote", log, version, version, _now(server, name, log, CHAMPION), by, why)
    forced = (*(["rejected"] if rejected else []), *case.review.failed)
    made = made.model_copy(update={"verdict": case.review.verdict[:500], "failed": forced})
    decisions.append(server, name, log, made)
    return [*said, *_carried(server, name, made), made.line()]


def reject(server: Registry, name: str, version: int, *, by: str, why: str) -> list[str]:
    """Record that a version is not to be promoted, and take the `candidate` alias from it.

    Raises:
        UserError: no such version, it is the champion, or somebody decided meanwhile.
    """
    _signed(by, why)
    log, said = settle(server, name)
    server.find(Reference(name, None, version))
    champion, previous = (_now(server, name, log, alias) for alias in (CHAMPION, PREVIOUS))
    if version == champion:
        raise UserError(f"{name}/{version}: is the champion; promote another version or roll back first")
    kept = None if previous == version else previous  # what was rejected does not come back by a rollback
    made = _decision("reject", log, version, champion, kept, by, why)
    decisions.append(server, name, log, made)
    return [*said, *_carried(server, name, made), made.line()]


def rollback(server: Registry, name: str, *, by: str, why: str, force: bool = False) -> list[str]:
    """Make the champion of before the champion again; the two change places.

    Raises:
        UserError: there was none before; without `force`: it was rolled back itself, or its artifact is not intact;
            or somebody decided meanwhile.
    """
    _signed(by, why)
    log, said = settle(server, name)
    champion, previous = (_now(server, name, log, alias) for alias in (CHAMPION, PREVIOUS))
    if previous is None:
        raise UserError(f"{name}: no champion before this one, so nothing to go back to; promote another version")
    if (left := log.rolled_back()) and left.previous == previous and not force:
        raise UserError(
            f"{name}/{previous}: was rolled back itself ({left.line()}); promote another version, or bring it back "
            "with `--force`, which is recorded"
        )
    checked = check(f"{name}/{previous}", tracking_uri=server.uri)
    if checked.problems and not force:
        raise UserError(f"{name}/{previous}: {'; '.join(checked.problems)}; `--force` rolls back all the same")
    made = _decision("rollback", log, previous, previous, champion, by, why)
    failed = (
        *(["rolled back"] if left and left.previous == previous else []),
        *(["artifact"] * bool(checked.problems)),
    )
    made = made.model_copy(update={"failed": failed})
    decisions.append(server, name, log, made)
    return [*said, *_carried(server, name, made), made.line()]


def refusal(review: Review) -> str:
    """Which gates failed and why, on one line."""
    lost = (f"{g.name} ({g.measured}{f'; {g.why}' if g.why else ''})" for g in review.judged if g.passed is False)
    return "fails " + ", ".join(lost)


def any_subject(server: Registry | None, text: str) -> Subject:
    """What `compare` may be given: a version, the id of a run, or the folder of an evaluation.

    Raises:
        UserError: none of these.
    """
    if Path(text).is_dir():
        return gather.of_folder(Path(text))
    if server is None:
        raise UserError(f"{text}: no such folder, and without a tracking server no version or run")
    if len(text) == 32 and all(letter in "0123456789abcdef" for letter in text):
        return gather.of_run(server, text)
    return gather.of_version(server, server.find(versions.parse(text)))


def _champion(
    server: Registry, name: str, number: int, subject: Subject, alias: int | None
) -> tuple[Subject | None, Comparison | None, same_data.Pair | None]:
    """The champion, where it is another version, what `subject` gains on it, and the two as they were compared."""
    if alias is None or alias == number:
        return None, None, None
    try:
        champion = gather.of_version(server, server.find(Reference(name, None, alias)))
    except UserError as error:  # the reviewer is to see this version all the same, and why nothing can be compared
        unknown = Comparison(first=f"{name} version {alias}", second=subject.facts.title, unpaired=str(error))
        return None, unknown.model_copy(update={"needs": str(error)}), None
    return champion, *same_data.against(server, champion, subject)


def _with_scores(server: Registry, subject: Subject, pair: same_data.Pair | None) -> Subject:
    """A version whose own data have no labels, with what it was scored elsewhere: where it was compared, or last."""
    if subject.facts.scores is None or subject.facts.headline:
        return subject
    found = pair[1] if pair and pair[1].facts.headline else same_data.labelled(server, subject)
    if found is None:
        return subject
    return replace(subject, facts=subject.facts.model_copy(update={"elsewhere": same_data.elsewhere(found)}))


def _described(subject: Subject, rules: ReviewConfig | None) -> Subject:
    """A version with the license and provenance that the reviewer's own rules state for its data."""
    said = {key: text for key in ("license", "provenance") if rules and (text := getattr(rules, key))}
    data = subject.facts.data.model_copy(update=said)
    return replace(subject, facts=subject.facts.model_copy(update={"data": data}))


def _forced(log: Log, number: int) -> str:
    """What the version became champion in spite of, for its verdict; empty: nothing, or it is not known to be one."""
    about = log.about(number)
    if about is None or about.kind != "promote" or not about.failed:
        return ""
    return f" | promoted by {about.by}, {about.forced} (decision {about.number})"


def _signed(by: str, why: str) -> None:
    if not by.strip() or not why.strip():
        raise UserError("--by and --why: a decision needs who decides and a reason")
    if len(why) > MAX_WHY:
        raise UserError(f"--why: {len(why)} characters; the log takes {MAX_WHY}")


def _now(server: Registry, name: str, log: Log, alias: str) -> int | None:
    """By the log; of a model that nothing was decided about yet, by the registry."""
    if log.last is None:
        return server.champion(name, alias)
    return log.last.champion if alias == CHAMPION else log.last.previous


def _decision(
    kind: Kind, log: Log, version: int, champion: int | None, previous: int | None, by: str, why: str
) -> Decision:
    return Decision(
        number=len(log.entries) + 1,
        kind=kind,
        version=version,
        champion=champion,
        previous=previous,
        by=" ".join(by.split()),
        why=" ".join(why.split()),
        time=decisions.now(),
    )


def _carried(server: Registry, name: str, made: Decision) -> list[str]:
    """Carry the new decision out; what is said of older ones is worth saying."""
    with decisions.carried_on(name, made):
        log, said = settle(server, name)
    own = f"decision {len(log.entries)} "
    return [line for line in said if not line.startswith((own, "@"))]
