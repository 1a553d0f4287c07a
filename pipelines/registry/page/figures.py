"""The pictures of a review: gains with their intervals, both embedding maps, neighbors where the two differ."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

from pipelines.evaluate.report import plots
from pipelines.evaluate.report.samples import Samples
from pipelines.registry.review.comparison import Comparison, wins_and_losses
from pipelines.registry.review.facts import Subject
from ssl_core.evaluate.knn import nearest

QUERIES, NEIGHBORS = 5, 7


class Shot(NamedTuple):
    """One thumbnail."""

    png: bytes
    label: str
    """Its class; empty: no labels."""
    same: bool | None
    """Whether that is the query's class; None: no labels, or the query itself."""


class Case(NamedTuple):
    """One query with its nearest neighbors in each encoder."""

    query: Shot
    neighbors: dict[str, list[Shot]]
    """Title of the encoder -> nearest first."""


def gains(against: Comparison) -> bytes | None:
    """Each paired gain with its interval around zero; None: there is no interval to draw."""
    drawn = [gain for gain in against.gains if gain.low is not None and gain.high is not None][::-1]
    if not drawn:
        return None
    figure = plots.new_figure(8, 0.36 * len(drawn) + 1.3, f"Gain on {against.first}, paired 95 % intervals")
    axes = figure.add_subplot()
    for y, gain in enumerate(drawn):
        low, high = gain.low or 0.0, gain.high or 0.0
        color = plots.MUTED[2] if low > 0 else plots.MUTED[1] if high < 0 else plots.INK
        axes.plot([low, high], [y, y], color=color, linewidth=2)
        axes.scatter([gain.gain], [y], color=color, s=28, zorder=3)
    axes.axvline(0, color=plots.GREY, linewidth=1)
    axes.set_yticks(range(len(drawn)), [gain.name for gain in drawn], fontsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return plots.png(figure)


def embedding_map(subject: Subject) -> bytes | None:
    """The stored test samples of one encoder in 2-D; None: none were stored."""
    if (shown := subject.samples) is None:
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "map.png"
        plots.embedding_map(
            shown.features, shown.label, path, class_names=shown.classes or None, title=subject.facts.title
        )
        return path.read_bytes()


def won_and_lost(pair: tuple[Subject, Subject]) -> dict[str, list[Case]] | None:
    """Stored samples that the second won from the first, the champion, and lost to it, by the second's headline.

    None: nothing tells which, see `wins_and_losses`.
    """
    champion, subject = pair
    ours, theirs = subject.samples, champion.samples
    told = wins_and_losses(champion, subject, subject.facts.headline)
    if told is None or ours is None or theirs is None or len(ours.sample_id) <= NEIGHBORS:
        return None
    there = set(ours.sample_id.tolist()) & set(theirs.sample_id.tolist())
    kinds = dict(zip(("Won from the champion", "Lost to the champion"), told, strict=True))
    return {
        caption: [_case(sample, subject, champion) for sample in [s for s in ids if s in there][:QUERIES]]
        for caption, ids in kinds.items()
    }


def plain(subject: Subject, pair: tuple[Subject, Subject] | None) -> dict[str, list[Case]]:
    """Some stored samples with their neighbors: in both encoders at once where both have the same data stored."""
    if pair is None:
        return _some("Nearest neighbors", subject, None)
    champion, subject = pair
    if champion.facts.lineage.data_key == subject.facts.lineage.data_key != "":
        return _some("Nearest neighbors", subject, champion)
    ours, theirs = (_some(f"Nearest neighbors in {each.facts.title}", each, None) for each in (subject, champion))
    return ours | theirs


def _some(caption: str, subject: Subject, champion: Subject | None) -> dict[str, list[Case]]:
    """Samples spread over the stored ones; of those that the champion has stored too, if it has any."""
    if (shown := subject.samples) is None or len(shown.sample_id) <= NEIGHBORS:
        return {}
    ids = shown.sample_id
    if champion is not None and champion.samples is not None:
        both = ids[np.isin(ids, champion.samples.sample_id)]
        ids, champion = (both, champion) if len(both) else (ids, None)
    rows = np.linspace(0, len(ids) - 1, min(QUERIES, len(ids)), dtype=np.int64)
    return {caption: [_case(int(sample), subject, champion) for sample in ids[rows]]}


def _case(sample: int, subject: Subject, champion: Subject | None) -> Case:
    neighbors, query = {}, None
    for each in (subject, champion):
        if each is None or (shown := each.samples) is None:
            continue
        row = int(np.flatnonzero(shown.sample_id == sample)[0])
        query = query or _shot(shown, row, None)
        unit = torch.nn.functional.normalize(torch.from_numpy(shown.features), dim=1)  # [n, D]
        found = nearest(unit[row : row + 1], unit, NEIGHBORS + 1)[1][0].tolist()  # [K + 1], the query among them
        neighbors[each.facts.title] = [_shot(shown, other, row) for other in found if other != row][:NEIGHBORS]
    if query is None:
        raise ValueError(f"sample {sample} is not among the stored ones")
    return Case(query, neighbors)


def _shot(shown: Samples, row: int, query: int | None) -> Shot:
    same = None if query is None or shown.label is None else bool(shown.label[row] == shown.label[query])
    return Shot(plots.thumbnail(shown.images[row]), shown.name(row), same)
