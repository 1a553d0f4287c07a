"""Two encoders on the same test samples: what the second one gains, score by score, and which samples it wins."""

from typing import Any

import torch

from pipelines.evaluate.report import text
from pipelines.evaluate.scoring.outcomes import Outcomes
from pipelines.registry.review.facts import Facts, Subject
from pipelines.registry.review.overlaps import Overlap
from ssl_core.config import Config
from ssl_core.measures import statistics
from ssl_core.measures.measure import measure_of


class Gain(Config):
    """One score of both."""

    name: str
    second: float
    first: float
    gain: float
    """Second minus first, turned around where less is better: more is always better."""
    low: float | None = None
    """Lower end of the paired 95 % interval of the gain; None: not paired."""
    high: float | None = None
    p_value: float | None = None
    test: str = ""
    num_shared: int = 0
    """Test samples that both have this score of; 0: not paired."""


class Comparison(Config):
    """What the second encoder gains on the first."""

    first: str
    second: str
    gains: tuple[Gain, ...] = ()
    num_shared: int = 0
    """Test samples that both were scored on."""
    unpaired: str = ""
    """Why there is no interval; empty: there is."""
    needs: str = ""
    """What is to be done before the two can be paired; empty: nothing, or neither has been scored at all."""
    evaluations: str = ""
    """What the scores are from, where the two were not scored on the same data to begin with."""
    overlaps: tuple[Overlap, ...] = ()
    """Of those evaluations: whether the encoders, or their probes, had seen the test samples."""
    changed: dict[str, tuple[Any, Any]] = {}
    """Config keys that differ: first's value, second's value."""

    def gain(self, name: str) -> Gain | None:
        return next((gain for gain in self.gains if gain.name == name), None)


def compare(first: Subject, second: Subject, seed: int = 0) -> Comparison:
    """Hold the second encoder against the first."""
    a, b = first.facts, second.facts
    unpaired = _unpaired(first, second)
    gains = [_gain(row, first, second, seed, bool(unpaired)) for row in _shared_rows(a, b)]
    shared = 0
    if not unpaired and first.outcomes and second.outcomes:
        shared = int(torch.isin(first.outcomes.sample_id, second.outcomes.sample_id).sum())
    keys = sorted(a.config.keys() | b.config.keys()) if a.config and b.config else []
    if not (a.lineage.run_id and b.lineage.run_id):  # a folder knows only what its stages have read
        keys = sorted(a.config.keys() & b.config.keys())
    changed = {key: (a.config.get(key), b.config.get(key)) for key in keys if a.config.get(key) != b.config.get(key)}
    return Comparison(
        first=a.title, second=b.title, gains=tuple(gains), num_shared=shared, unpaired=unpaired, changed=changed
    )


def wins_and_losses(first: Subject, second: Subject, score: str) -> tuple[list[int], list[int]] | None:
    """Ids of test samples on which the second does better than the first by `score`, and worse.

    Both lists start with the largest difference. None: the two cannot be paired, or the score is no mean over samples.
    """
    if _unpaired(first, second) or not (first.outcomes and second.outcomes):
        return None
    if score not in first.outcomes.values or score not in second.outcomes.values:
        return None
    ids, a, b = _paired(first.outcomes, second.outcomes, score)
    gain = (a - b) if measure_of(score).better == "low" else (b - a)  # [M]
    order = torch.argsort(gain.abs(), descending=True, stable=True)
    won, lost = ([int(ids[i]) for i in order if sign * gain[i] > 0] for sign in (1, -1))
    return won, lost


def _unpaired(first: Subject, second: Subject) -> str:
    a, b = first.facts, second.facts
    if first.outcomes is None or second.outcomes is None:
        which = " and ".join(s.facts.title for s in (first, second) if s.outcomes is None)
        return f"no outcomes per test sample of {which}"
    if unknown := " and ".join(facts.title for facts in (a, b) if not facts.lineage.shards):
        return f"it is not recorded what data {unknown} was scored on"
    if a.lineage.data_key != b.lineage.data_key:
        return f"{a.title} and {b.title} were scored on different data"
    ours, theirs = (s.protocols if s else {} for s in (a.scores, b.scores))
    if other := sorted(probe for probe in ours.keys() & theirs.keys() if ours[probe] != theirs[probe]):
        return f"{a.title} and {b.title} were scored by different protocols of {', '.join(other)}; evaluate both anew"
    if not torch.isin(first.outcomes.sample_id, second.outcomes.sample_id).any():
        return f"{a.title} and {b.title} have no test sample in common"
    return ""


def _shared_rows(a: Facts, b: Facts) -> list[text.Row]:
    """The second's scores that the first has too."""
    if a.scores is None or b.scores is None:
        return []
    return [row for row in text.rows(b.scores) if row.name in a.scores.encoder]


def _gain(row: text.Row, first: Subject, second: Subject, seed: int, unpaired: bool) -> Gain:
    before = first.facts.scores.encoder[row.name] if first.facts.scores else 0.0
    sign = measure_of(row.name).sign
    plain = Gain(name=row.name, second=row.encoder, first=before, gain=sign * (row.encoder - before))
    if unpaired or first.outcomes is None or second.outcomes is None:
        return plain
    if row.name not in first.outcomes.values or row.name not in second.outcomes.values:
        return plain  # not a mean over samples, e.g. F1
    ids, a, b = _paired(first.outcomes, second.outcomes, row.name)
    if not len(ids):
        return plain  # each was measured on some samples only, and these are others
    found = statistics.compare(sign * a.numpy(), sign * b.numpy(), seed)
    paired = {"gain": found.difference.mean, "low": found.difference.low, "high": found.difference.high}
    return plain.model_copy(update={**paired, "p_value": found.p_value, "test": found.test, "num_shared": len(ids)})


def _paired(first: Outcomes, second: Outcomes, score: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids of which both have the score [M], and the score of each side on them [M] in that order."""
    ours, theirs = first.ids(score), second.ids(score)
    ids = ours[torch.isin(ours, theirs)].sort().values  # [M]
    return ids, _on(first, score, ids), _on(second, score, ids)


def _on(outcomes: Outcomes, score: str, ids: torch.Tensor) -> torch.Tensor:
    there = outcomes.ids(score)
    order = there.argsort()
    at = torch.searchsorted(there[order], ids)
    return outcomes.values[score][order[at]]  # [M]
