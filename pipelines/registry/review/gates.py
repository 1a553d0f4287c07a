"""Gates: what a version must show before it becomes champion, each with what was wanted, measured, and why."""

from collections.abc import Iterator
from typing import Any

from pipelines.config.review import Gates
from pipelines.evaluate.report import text
from pipelines.evaluate.scoring.scores import Scores, is_error
from pipelines.model.check import Checked
from pipelines.registry.review import overlaps
from pipelines.registry.review.comparison import Comparison
from pipelines.registry.review.facts import Facts
from pipelines.registry.review.overlaps import Overlap
from ssl_core.config import Config

_UNMEASURED = "not measured"


class Judged(Config):
    """One gate and how the version fared at it."""

    name: str
    wanted: str
    measured: str
    passed: bool | None
    """None: does not apply, `why` says why."""
    why: str = ""


def judge(gates: Gates, facts: Facts, checked: Checked, against: Comparison | None) -> tuple[Judged, ...]:
    """Hold a version against every gate.

    Args:
        facts: of the version.
        checked: its artifact, looked at just now.
        against: the champion as first, the version as second; None: there is no champion yet.
    """
    return (
        *_artifact(gates, checked),
        _audit(facts),
        *_scores(gates, facts, against),
        *_health(gates, facts.scores),
        *_leaks(gates.max_leak_rate, seen(facts, against)),
    )


def failed(judged: tuple[Judged, ...]) -> tuple[str, ...]:
    return tuple(gate.name for gate in judged if gate.passed is False)


def verdict(facts: Facts, judged: tuple[Judged, ...], against: Comparison | None) -> str:
    """One line, e.g. `PASS 9/9 gates | knn_top1_k200 0.975 [0.958, 0.989], +0.011 on version 2`."""
    looked = [gate for gate in judged if gate.passed is not None]
    lost = failed(judged)
    line = f"PASS {len(looked)}/{len(looked)} gates"
    if lost:
        line = f"FAIL {len(lost)}/{len(looked)} gates: {', '.join(lost)}"
    scores, head = facts.judged, facts.headline
    if scores is None or not head:
        rank = f", rankme {scores.health['rankme']:.1f}" if scores and "rankme" in scores.health else ""
        return f"{line} | no labels, so not scored{rank}" if scores else f"{line} | not evaluated"
    line += f" | {head} {scores.encoder[head]:.3f}{_interval(scores.intervals.get(head))}"
    line += " on other data, which have labels" if facts.elsewhere else ""
    if against is None:
        return line + (", the champion" if "champion" in facts.aliases else ", no champion yet")
    gain = against.gain(head)
    return line + (f", {gain.gain:+.3f} on {against.first}" if gain else f", not comparable with {against.first}")


def _artifact(gates: Gates, checked: Checked) -> Iterator[Judged]:
    intact = checked.files_ok if checked.sha256_ok else False  # None: an older Selfray registered it, without a list
    problems = "; ".join(checked.problems)
    unknown = "; ".join(checked.not_checked)
    measured = f"sha256 {checked.sha256[:12]}..." if checked.sha256 else "no weights"
    yield _gate("sha256", "every file as registered", measured, intact, problems if intact is False else unknown)
    loads = "loads" if checked.loads else "does not load"
    why = checked.signature if checked.loads else problems
    wanted = "in a clean process, without pickle, as its signature says"
    yield _gate("loads", wanted, loads, checked.loads and not checked.signature, why)
    if (most := gates.max_difference) is not None:
        if checked.max_difference is None:
            yield _gate("embeddings", f"stored ones within {most:g}", _UNMEASURED, False, unknown or problems)
        else:
            measured = f"{checked.max_difference:.2g} on {checked.num_examples} examples"
            within = checked.max_difference <= most
            yield _gate("embeddings", f"stored ones within {most:g}", measured, within)
    if (most := gates.max_latency_ms) is not None:
        spent = checked.latency_ms
        on = f"batch {checked.batch_size}, {checked.threads} threads"
        measured = _UNMEASURED if spent is None else f"{spent:.1f} ms ({on})"
        yield _gate("latency", f"at most {most:g} ms per image", measured, spent is not None and spent <= most)
    if (most := gates.max_size_mb) is not None:
        size = checked.num_bytes / 1e6
        yield _gate("size", f"at most {most:g} MB", f"{size:.1f} MB", size <= most)


def _audit(facts: Facts) -> Judged:
    wanted, lineage = "every planned sample consumed once", facts.lineage
    if lineage.audit_exact is None:
        return _gate("audit", wanted, _UNMEASURED, None, "no audit is on this server: trained by an older Selfray")
    return _gate("audit", wanted, lineage.audit, lineage.audit_exact)


def _scores(gates: Gates, facts: Facts, against: Comparison | None) -> Iterator[Judged]:
    scores, head = facts.judged, facts.headline
    wanted = [*(["floors"] if gates.beats_floors else []), *(f"min_scores.{name}" for name in gates.min_scores)]
    regress = [] if gates.max_regression is None else list(gates.compared or ([head] if head else ["headline"]))
    if scores is None:
        why = "the run holds no evaluation report: run `selfray evaluate`"
        for name in (*wanted, *(f"max_regression.{each}" for each in regress)):
            yield _gate(name, "a score", _UNMEASURED, False, why)
        return
    if not scores.encoder:
        needs = against.needs if against else ""
        if gates.min_scores and not needs:
            needs = f"`selfray evaluate {facts.name}/{facts.version} --on DATA` with labels scores it"
        why = f"the data have no labels, so there is no score{f'; {needs}' if needs else ''}"
        for name in (*wanted, *(f"max_regression.{each}" for each in regress)):
            yield _gate(name, "a score", "no labels", False if needs else None, why)
        return
    if gates.beats_floors:
        yield _floors(scores, head)
    for name, bound in gates.min_scores.items():
        value = scores.encoder.get(name)
        why = "" if value is not None else f"no probe gave it; there are {', '.join(scores.encoder)}"
        yield _bound(f"min_scores.{name}", value, bound, why, at_most=is_error(name))
    for name in regress:
        yield _regression(name, float(gates.max_regression or 0), facts, against)


def _floors(scores: Scores, head: str) -> Judged:
    wanted = f"{head} gains on the better floor"
    row = next(row for row in text.rows(scores) if row.name == head)
    if row.gain is None:
        return _gate("floors", wanted, _UNMEASURED, False, "no floor was measured: evaluate again")
    interval = scores.gains.get(head)
    measured = f"{row.gain:+.3f}{_interval(interval, signed=True)}"
    if interval is None:
        return _gate("floors", wanted, measured, row.beats_floors, "by the spread over draws: there is no interval")
    why = "" if interval[0] > 0 else "within the noise of this many test samples" if row.gain > 0 else "below the floor"
    return _gate("floors", wanted, measured, interval[0] > 0, why)


def _regression(name: str, most: float, facts: Facts, against: Comparison | None) -> Judged:
    gate, wanted = f"max_regression.{name}", f"loses at most {most:g} to the champion, by its interval"
    if against is None and "champion" in facts.aliases:
        return _gate(gate, wanted, "the champion", None, "it is the champion itself: nothing to lose against")
    if against is None:
        return _gate(gate, wanted, "no champion", None, "first promotion: nothing to lose against; `floors` decides")
    found = against.gain(name)
    if found is None:
        why = against.unpaired or f"not a score of both {against.first} and {against.second}"
        return _gate(gate, wanted, _UNMEASURED, False, why)
    if found.low is None:
        why = against.unpaired or "there is no paired interval: no mean over test samples, or of other samples each"
        return _gate(gate, wanted, f"{found.gain:+.3f}, no interval", False, why)
    measured = f"{found.gain:+.3f}{_interval((found.low, found.high or found.low), signed=True)}"
    passed = found.low >= -most
    by = f" of {against.evaluations}" if against.evaluations else ""
    why = f"on {found.num_shared:,} shared test samples{by}, p = {found.p_value:.2g} ({found.test})"
    if not passed and found.gain >= -most:
        why += "; too few test samples to exclude a larger loss"
    return _gate(gate, wanted, measured, passed, why)


def _health(gates: Gates, scores: Scores | None) -> Iterator[Judged]:
    for kind, bounds in (("min_health", gates.min_health), ("max_health", gates.max_health)):
        for name, bound in bounds.items():
            value = scores.health.get(name) if scores else None
            why = "" if value is not None else "the report does not hold this measure: evaluate again"
            yield _bound(f"{kind}.{name}", value, bound, why, at_most=kind == "max_health")


def seen(facts: Facts, against: Comparison | None) -> tuple[Overlap, ...]:
    """Whether test samples had been seen, in the version's own evaluation and in every other that a gate rests on."""
    found = overlaps.of(facts.scores) if facts.scores else ()
    if against and against.overlaps:
        more = against.overlaps
    elif facts.elsewhere:
        more = overlaps.of(facts.elsewhere.scores, f" of run {facts.elsewhere.run_id[:8]}")
    else:
        more = ()
    return (*found, *more)


def _leaks(most: float | None, looks: tuple[Overlap, ...]) -> Iterator[Judged]:
    if most is None:
        return
    wanted = f"at most {most:.1%} of test also in train or pre-training"
    bad = [look for look in looks if look.missing or look.leaks is None or look.leaks.rate > most]
    if not looks:
        yield _gate("max_leak_rate", wanted, _UNMEASURED, False, "there is no evaluation: run `selfray evaluate`")
        return
    found = [look.leaks for look in looks if look.leaks is not None]
    worst = max(found, key=lambda leaks: leaks.rate, default=None)
    measured = _UNMEASURED
    if worst is not None:
        measured = f"{worst.rate:.1%} ({worst.num_exact} exact, {worst.num_near} near of {worst.num_checked:,})"
    yield _gate("max_leak_rate", wanted, measured, not bad, "; ".join(map(_overlap, bad)))


def _overlap(look: Overlap) -> str:
    """What is wrong with one, with the closest samples."""
    if look.missing or look.leaks is None:
        return f"{look.where}: not checked: {look.missing}"
    closest = look.leaks.pairs[:3]
    pairs = (f"{p.test_origin or f'test {p.test}'} = {p.train_origin or f'train {p.train}'}" for p in closest)
    return f"in {look.where}, e.g. {'; '.join(pairs)}"


def _bound(name: str, value: float | None, bound: float, why: str, *, at_most: bool) -> Judged:
    wanted = f"at {'most' if at_most else 'least'} {bound:g}"
    within = value is not None and (value <= bound if at_most else value >= bound)
    return _gate(name, wanted, _number(value), within, why)


def _gate(name: str, wanted: str, measured: str, passed: bool | None, why: str = "") -> Judged:
    return Judged(name=name, wanted=wanted, measured=measured, passed=passed, why=why)


def _number(value: float | None) -> str:
    return _UNMEASURED if value is None else f"{value:.4g}"


def _interval(ends: Any, signed: bool = False) -> str:
    if ends is None:
        return ""
    return f" [{ends[0]:+.3f}, {ends[1]:+.3f}]" if signed else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
