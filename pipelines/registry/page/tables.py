"""The tables of a review as rows of text, for the page, the card and the terminal alike."""

from typing import NamedTuple

from pipelines.evaluate.report import text as report
from pipelines.evaluate.report.sections import MEANINGS
from pipelines.evaluate.scoring.scores import Leaks, Scores
from pipelines.registry.review.comparison import Comparison
from pipelines.registry.review.facts import Code, Facts, Lineage, Place
from pipelines.registry.review.outcome import Review

PASSED = {True: "pass", False: "FAIL", None: "n/a"}
MOST = 60
"""Classes that are listed."""
_NONE = "-"


class Rows(NamedTuple):
    header: tuple[str, ...]
    cells: list[list[str]]
    numeric: tuple[int, ...] = ()
    """Columns that line up on the right."""


def gates(review: Review) -> Rows:
    cells = [[PASSED[g.passed], g.name, g.wanted, g.measured, g.why] for g in review.judged]
    return Rows(("", "gate", "wanted", "measured", "why"), cells)


def scores(found: Scores) -> Rows:
    """Each score with its interval, beside its floors."""
    cells = []
    for row in report.rows(found):
        gain = _NONE if row.gain is None else f"{row.gain:+.3f}"
        cells.append(
            [
                row.name, _with_interval(f"{row.encoder:.3f}", found.intervals.get(row.name)), _number(row.random_init),
                _number(row.raw_input), _with_interval(gain, found.gains.get(row.name), signed=True),
            ]
        )  # fmt: skip
    header = ("score", "this version [95 %]", "random init", "raw input", "gain over the better floor [95 %]")
    return Rows(header, cells, (1, 2, 3, 4))


def gains(against: Comparison) -> Rows:
    """Score by score against the first of a comparison."""
    cells = []
    for gain in against.gains:
        paired = gain.low is not None and gain.high is not None
        interval = f"[{gain.low:+.3f}, {gain.high:+.3f}]" if paired else _NONE
        p_value = _NONE if gain.p_value is None else f"{gain.p_value:.2g}"
        cells.append([gain.name, f"{gain.second:.3f}", f"{gain.first:.3f}", f"{gain.gain:+.3f}", interval, p_value])
    header = ("score", against.second, against.first, "gain", "paired 95 % interval", "p")
    return Rows(header, cells, (1, 2, 3, 4, 5))


def changed(against: Comparison) -> Rows:
    cells = [[key, _value(before), _value(after)] for key, (before, after) in against.changed.items()]
    return Rows(("key", against.first, against.second), cells)


def health(found: Scores, champion: Scores | None) -> Rows:
    """Each measure beside the champion's on the same data, which depends on them as much as on the encoder."""
    theirs = champion.health if champion else {}
    cells = [
        [name, f"{value:.4g}", f"{theirs[name]:.4g}" if name in theirs else _NONE, MEANINGS.get(name, "")]
        for name, value in found.health.items()
    ]
    return Rows(("measure (no labels)", "this version", "champion", "what it says"), cells, (1, 2))


def robustness(found: Scores, champion: Scores | None) -> Rows:
    """Accuracy under each corruption, averaged over severities; the champion's where it met the same ones."""
    ours, other = found.robustness, champion.robustness if champion else None
    here = ours.metrics() if ours else {}
    theirs = other.metrics() if ours and other and other.asked == ours.asked else {}
    intervals = {**found.intervals, **(found.robustness.intervals if found.robustness else {})}  # the mean is a score
    cells = [
        [name, _with_interval(f"{value:.3f}", intervals.get(name)), _number(theirs.get(name))]
        for name, value in here.items()
    ]
    return Rows(("linear probe under corruption", "this version", "champion"), cells, (1, 2))


def per_class(found: Scores, champion: Scores | None) -> Rows:
    """Classes with precision, recall and F1, and what recall gains on the champion; the weakest first, MOST at most.

    Args:
        champion: its scores on the same data; its classes count where the same score predicted them.
    """
    same = champion is not None and champion.predicted_by == found.predicted_by
    theirs = {each.name: each for each in champion.per_class} if champion and same else {}
    cells = []
    for each in sorted(found.per_class, key=lambda one: one.f1)[:MOST]:
        gain = f"{each.recall - theirs[each.name].recall:+.3f}" if each.name in theirs else _NONE
        numbers = (each.shown("precision"), each.shown("recall"), each.shown("f1"))
        cells.append([each.name, f"{each.support:,}", *numbers, gain])
    header = ("class", "test samples", "precision", "recall", "F1", "recall against the champion")
    return Rows(header, cells, (1, 2, 3, 4, 5))


def leaks(found: Leaks) -> Rows:
    """The closest pairs of a test sample and another."""
    cells = [
        [p.test_origin or f"sample {p.test}", p.train_origin or f"sample {p.train}", p.kind, f"{p.distance:.3g}"]
        for p in found.pairs
    ]
    return Rows(("test sample", "other sample", "equal by", "distance"), cells, (3,))


def lineage(facts: Facts) -> Rows:
    """What trained it, then what later attempts and the run that evaluated it had instead."""
    line, cells = facts.lineage, list[list[str]]()
    cells += [["run", f"{line.run_name} ({line.run_id})"], ["user", line.user]]
    for code in line.trained:
        cells += _code("" if code is line.code else "resumed with ", code, line)
    for code in line.evaluated:
        cells += _code("evaluated with ", code, line)
    cells += [
        ["data (manifest digest)", line.shards],
        ["checkpoint (digest)", line.checkpoint],
        ["weights (sha256)", line.sha256],
        ["restarts", str(line.restarts)],
        ["audit", line.audit],
        *([name, text] for name, text in (line.code.environment if line.code else {}).items()),
    ]
    return Rows(("", ""), [[name, text] for name, text in cells if text])


def _code(kind: str, code: Code, line: Lineage) -> list[list[str]]:
    """Commit and uncommitted changes, and of what did not begin the training where the machine was another one."""
    dirty = {True: f"yes: {code.patch_lines} lines in {code.patch} of the run", False: "no", None: "not logged"}
    cells = [["trained by run", code.run_id]] if not kind and code.run_id != line.run_id else []
    cells.append([f"{kind}commit", f"{code.commit} ({code.branch})" if code.branch else code.commit])
    cells.append([f"{kind}uncommitted changes", dirty[code.dirty]])
    before = line.code.environment if kind and line.code else code.environment
    other = [f"{name} {text}" for name, text in code.environment.items() if before.get(name) != text]
    return [*cells, [f"{kind}other versions", ", ".join(other)]]


def campaign(place: Place) -> Rows:
    """What campaign it won, and where in the searched space it lies."""
    cells = [["campaign", place.verdict], ["trials", str(place.num_trials)]]
    cells += [["best trial", str(place.trial)]] if place.trial is not None else []
    cells += [["run of the campaign", place.run_id]] if place.run_id else []
    return Rows(("", ""), cells + [[f"searched: {key}", value] for key, value in place.values.items()])


def data(facts: Facts) -> Rows:
    about = facts.data
    counts = {"train samples": about.train, "test samples": about.test, "quarantined": about.quarantined}
    counts |= {"duplicates": about.duplicates}
    rows = {"source": about.name} | {name: f"{count:,}" for name, count in counts.items() if count is not None}
    rows |= {"license": about.license or "not stated (review.license)"}
    rows |= {"provenance": about.provenance or "not stated (review.provenance)"}
    return Rows(("", ""), [[name, text] for name, text in rows.items() if text])


def _with_interval(text: str, ends: tuple[float, float] | None, signed: bool = False) -> str:
    if ends is None:
        return text
    return f"{text} [{ends[0]:+.3f}, {ends[1]:+.3f}]" if signed else f"{text} [{ends[0]:.3f}, {ends[1]:.3f}]"


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _value(value: object) -> str:
    return "(not set)" if value is None else str(value)
