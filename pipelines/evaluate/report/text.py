"""An evaluation as text: a verdict in one line, a table for the terminal, Markdown and JSON for the record.

Pure functions of `Scores`: no Ray, no MLflow. Every score stands beside its floors, the same probe on
the raw input and on an encoder with random weights.
"""

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from pipelines.evaluate.report import sections
from pipelines.evaluate.scoring.scores import ClassScores, LeakPair, Leaks, Scores
from pipelines.tracking.markdown import table
from ssl_core.measures.measure import measure_of

__all__ = [
    "ClassScores",
    "LeakPair",
    "Leaks",
    "Row",
    "Scores",
    "json_text",
    "markdown",
    "rich_table",
    "rows",
    "verdict",
]

_SPREAD = "_std"  # `x_std` is the spread of score `x` over draws
_COLUMNS = ("score", "this encoder", "random-init encoder", "raw input", "gain over the better floor")
_SHORT = ("score", "encoder", "random\ninit", "raw\ninput", "gain")  # for the terminal
_NONE = "-"


class Row(NamedTuple):
    """One score beside its floors."""

    name: str
    encoder: float
    random_init: float | None
    raw_input: float | None
    gain: float | None
    """Over the better floor; None without floors, or where higher is neither better nor worse."""
    noise: float
    """The largest spread over draws of any side; 0 where the probe draws nothing."""
    gain_interval: tuple[float, float] | None
    """95 % interval of the gain; None: nothing was resampled."""

    @property
    def beats_floors(self) -> bool:
        """True where the interval of the gain lies above 0; without intervals, where the gain exceeds the spread."""
        if self.gain_interval is not None:
            return self.gain_interval[0] > 0
        return self.gain is not None and self.gain > self.noise


def rows(scores: Scores) -> Iterator[Row]:
    """One row per score, in the order the probes gave them.

    A gain is positive where the encoder is better, which of an `_error` means lower.
    """
    for name, value in scores.encoder.items():
        if name.endswith(_SPREAD) and name.removesuffix(_SPREAD) in scores.encoder:
            continue
        random_init, raw_input = scores.random_init.get(name), scores.raw_input.get(name)
        floors = [f for f in (random_init, raw_input) if f is not None]
        measure = measure_of(name)
        gain = min(measure.sign * (value - floor) for floor in floors) if floors and measure.is_compared else None
        spreads = [side.get(name + _SPREAD, 0.0) for side in (scores.encoder, scores.random_init, scores.raw_input)]
        yield Row(name, value, random_init, raw_input, gain, max(spreads), scores.gains.get(name))


def verdict(scores: Scores) -> str:
    """One line for a reviewer, e.g. `beats both floors on 6/7 | knn_top1_k200 0.62 (+0.21 over the better floor)`.

    A gain counts only where its interval lies above 0 (without intervals: where it exceeds the spread over draws).
    """
    table = list(rows(scores))
    if not table:
        rank = f" | rankme {scores.health['rankme']:.1f}" if "rankme" in scores.health else ""
        return f"no labels, so not scored{rank}"
    compared = [r for r in table if r.gain is not None]
    won = sum(r.beats_floors for r in compared)
    both = bool(scores.random_init and scores.raw_input)
    floors = "both floors" if both else "its only floor"
    if not compared:
        claim = "no floor was measured"
    elif not won:
        claim = f"does NOT beat {floors} on any of {len(compared)}"
    else:
        claim = f"beats {floors} on {won}/{len(compared)}"
    seen = (
        f" | {100 * scores.leaks.rate:.2g} % of test is in train, or nearly"
        if scores.leaks and scores.leaks.rate
        else ""
    )
    if scores.pretraining and scores.pretraining.leaks and scores.pretraining.leaks.rate:
        seen += f" | {100 * scores.pretraining.leaks.rate:.2g} % of test is in the pre-training data, or nearly"
    head = next((r for r in table if r.name == scores.headline), table[0])
    over = "" if head.gain is None else f" ({_gain(head)} over {'the better' if both else 'its only'} floor)"
    return f"{claim} | {head.name} {head.encoder:.3f}{over}{seen}"


def markdown(scores: Scores, title: str = "Evaluation", figures: Mapping[str, str] | None = None) -> str:
    """The report as Markdown.

    Args:
        figures: caption -> path of the picture, relative to where the Markdown will lie.
    """
    cells = [[f"`{r.name}`", *_cells(scores, r)] for r in rows(scores)]
    lines = [f"# {title}", "", f"**{verdict(scores)}**"]
    if cells:
        lines += ["", *table(_COLUMNS, cells, numeric=range(1, len(_COLUMNS))), "", _legend(scores)]
    lines += [*sections.health(scores), *sections.leaks(scores), *sections.classes(scores)]
    if scores.robustness:
        lines += ["", *scores.robustness.markdown()]
    if scores.protocols:
        lines += ["", "## Protocols", "", *(f"- {line}" for line in scores.protocols.values())]
    for caption, path in (figures or {}).items():
        lines += ["", f"## {caption}", "", f"![{caption}]({path})"]
    return "\n".join(lines) + "\n"


def json_text(scores: Scores) -> str:
    """The report as JSON: `scores` reads back with `Scores.model_validate`; gains and verdict are derived from it."""
    gains = {r.name: r.gain for r in rows(scores) if r.gain is not None}
    content = {"verdict": verdict(scores), "gains": gains, "scores": scores.model_dump(mode="json")}
    return json.dumps(content, indent=2) + "\n"


def rich_table(scores: Scores, title: str = "") -> Table:
    """The table of scores for the terminal; gains that count are green, losses red."""
    table = Table(title=title or None, caption=verdict(scores), box=SIMPLE_HEAD, pad_edge=False)
    for column in _SHORT:
        name = column == "score"
        table.add_column(column, justify="left" if name else "right", no_wrap=name)
    for row in rows(scores):
        encoder, *floors, gain = _brief(scores, row)
        color = "green" if row.beats_floors else "red" if row.gain is not None and row.gain < 0 else "default"
        table.add_row(row.name, escape(encoder), *floors, f"[{color}]{gain}[/]")
    return table


def _brief(scores: Scores, row: Row) -> list[str]:
    """As `_cells`; with intervals it leaves out the spreads and the gain's interval, to fit 80 columns."""
    interval = scores.intervals.get(row.name)
    if interval is None:
        return _cells(scores, row, bold="")
    floors = (_NONE if floor is None else f"{floor:.3f}" for floor in (row.random_init, row.raw_input))
    return [f"{row.encoder:.3f}{_interval(interval)}", *floors, _gain(row)]


def _cells(scores: Scores, row: Row, bold: str = "**") -> list[str]:
    """A row's cells after its name."""
    sides = (scores.encoder, scores.random_init, scores.raw_input)
    gain = f"{bold}{_gain(row)}{bold}" if row.beats_floors else _gain(row)
    if row.gain_interval is None and row.gain is not None and 0 < row.gain <= row.noise:
        gain += " (within the spread)"
    encoder, *floors = (_score(side, row.name) for side in sides)
    return [encoder + _interval(scores.intervals.get(row.name)), *floors, gain + _interval(row.gain_interval, "+")]


def _score(side: Mapping[str, float], name: str) -> str:
    if name not in side:
        return _NONE
    spread = side.get(name + _SPREAD)
    return f"{side[name]:.3f}" + ("" if spread is None else f" \u00b1 {spread:.3f}")


def _gain(row: Row) -> str:
    return _NONE if row.gain is None else f"{row.gain:+.3f}"


def _interval(ends: tuple[float, float] | None, sign: str = "") -> str:
    return "" if ends is None else f" [{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]"


def _legend(scores: Scores) -> str:
    sizes = [f"{n} {split} samples" for n, split in ((scores.num_train, "train"), (scores.num_test, "test")) if n]
    said = "Scores are fractions of the test split; \u00b1 is the std over draws; "
    said += (
        "brackets hold the 95 % bootstrap interval over test samples; a gain, paired on the same samples, is bold "
        "where its interval lies above 0."
        if scores.intervals
        else "a gain in bold is larger than that."
    )
    return f"{said} {', '.join([*sizes, f'seed {scores.seed}']).capitalize()}."
