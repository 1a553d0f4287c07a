"""An evaluation as text: a verdict in one line, a table for the terminal, Markdown and JSON for the record.

Pure functions of `Scores`: no Ray, no MLflow. Every score stands beside its floors, the same probe on
the raw input and on an encoder with random weights.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt, model_validator
from rich.table import Table

from ssl_core.config import Config

_SPREAD = "_std"  # `x_std` is the spread of score `x` over draws
_COLUMNS = ("score", "this encoder", "random-init encoder", "raw input", "gain over the better floor")
_NONE = "-"


class ClassScores(Config):
    """How well one class is told from the others."""

    name: str
    support: NonNegativeInt
    """Test samples of this class."""
    precision: float
    recall: float
    f1: float


class LeakPair(Config):
    """A test sample that is also, or nearly, a train sample."""

    train: int
    """Sample id."""
    test: int
    """Sample id."""
    kind: Literal["bytes", "phash", "features"]
    """What is equal or close: the stored bytes, the perceptual hash, or the features."""
    distance: float
    """0 for equal bytes; bits that differ; or 1 - cosine similarity."""
    train_origin: str = ""
    """The file, and the row in it, that the sample came from."""
    test_origin: str = ""


class Leaks(Config):
    """Test samples that pre-training has, or may have, seen."""

    num_exact: NonNegativeInt
    """Test samples whose stored bytes equal those of a train sample."""
    num_near: NonNegativeInt
    """Further test samples that look like a train sample."""
    num_checked: NonNegativeInt
    """Test samples looked at."""
    rate: float
    """Share of those checked that are exact or near copies."""
    pairs: tuple[LeakPair, ...] = ()
    """The closest, at most 20."""


class Scores(Config):
    """What was found out about an encoder. Scores are fractions in [0, 1]; `x_std` is the spread of `x` over draws."""

    encoder: dict[str, float] = {}
    """Scores of the pre-trained encoder; empty: the source has no labels."""
    random_init: dict[str, float] = {}
    """The same probes on the same encoder before pre-training; empty: not measured."""
    raw_input: dict[str, float] = {}
    """The same probes on the flattened input; empty: not measured."""
    intervals: dict[str, tuple[float, float]] = {}
    """Score -> 95 % bootstrap interval of the encoder's score over test samples; empty: not resampled."""
    gains: dict[str, tuple[float, float]] = {}
    """Score -> 95 % interval of its gain over the better floor, paired on the same test samples."""
    health: dict[str, float] = {}
    """Label-free measures of the pre-trained encoder, e.g. rankme."""
    outliers: tuple[int, ...] = ()
    """Ids of test samples whose features have an unusual length, farthest first, at most 20."""
    per_class: tuple[ClassScores, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    """Test samples by true class (row) and predicted class (column)."""
    predicted_by: str = ""
    """The score whose predictions `per_class` and `confusion` count."""
    leaks: Leaks | None = None
    """None: not checked."""
    protocols: dict[str, str] = {}
    """Probe name -> the line that names its protocol."""
    headline: str = ""
    """The score that the verdict quotes; empty: the first one."""
    seed: int = 0
    """Keys the probes' draws and held-out slices."""
    num_train: PositiveInt | None = None
    num_test: PositiveInt | None = None

    @model_validator(mode="after")
    def _headline_exists(self) -> "Scores":
        if self.headline and self.headline not in self.encoder:
            raise ValueError(f"headline: there is no score '{self.headline}'; choose one of {', '.join(self.encoder)}")
        return self


class Row(NamedTuple):
    """One score beside its floors."""

    name: str
    encoder: float
    random_init: float | None
    raw_input: float | None
    gain: float | None
    """Over the better floor; None without floors."""
    noise: float
    """The largest spread over draws of any side; 0 where the probe draws nothing."""

    @property
    def beats_floors(self) -> bool:
        """True where the gain is positive and larger than the spread."""
        return self.gain is not None and self.gain > self.noise


def rows(scores: Scores) -> Iterator[Row]:
    """One row per score, in the order the probes gave them."""
    for name, value in scores.encoder.items():
        if name.endswith(_SPREAD) and name.removesuffix(_SPREAD) in scores.encoder:
            continue
        random_init, raw_input = scores.random_init.get(name), scores.raw_input.get(name)
        floors = [f for f in (random_init, raw_input) if f is not None]
        spreads = [side.get(name + _SPREAD, 0.0) for side in (scores.encoder, scores.random_init, scores.raw_input)]
        yield Row(name, value, random_init, raw_input, value - max(floors) if floors else None, max(spreads))


def verdict(scores: Scores) -> str:
    """One line for a reviewer, e.g. `beats both floors on 6/7 | knn_top1_k200 0.62 (+0.21 over the better floor)`.

    A gain counts only where it is larger than the spread over draws.
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
    head = next((r for r in table if r.name == scores.headline), table[0])
    over = "" if head.gain is None else f" ({_gain(head)} over {'the better' if both else 'its only'} floor)"
    return f"{claim} | {head.name} {head.encoder:.3f}{over}"


def markdown(scores: Scores, title: str = "Evaluation", figures: Mapping[str, str] | None = None) -> str:
    """The report as Markdown.

    Args:
        figures: caption -> path of the picture, relative to where the Markdown will lie.
    """
    cells = [[f"`{r.name}`", *_cells(scores, r)] for r in rows(scores)]
    lines = [f"# {title}", "", f"**{verdict(scores)}**"]
    if cells:
        lines += ["", *_markdown_table(_COLUMNS, cells), "", _legend(scores)]
    if scores.health:
        lines += ["", "## Health (no labels)", ""]
        lines += _markdown_table(("measure", "value"), [[f"`{n}`", f"{v:.4g}"] for n, v in scores.health.items()])
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
    table = Table(title=title or None, caption=verdict(scores))
    for column in _COLUMNS:
        name = column == "score"
        table.add_column(column, justify="left" if name else "right", no_wrap=name)
    for row in rows(scores):
        *values, gain = _cells(scores, row, bold="")
        color = "green" if row.beats_floors else "red" if row.gain is not None and row.gain < 0 else "default"
        table.add_row(row.name, *values, f"[{color}]{gain}[/]")
    return table


def _cells(scores: Scores, row: Row, bold: str = "**") -> list[str]:
    """A row's cells after its name."""
    sides = (scores.encoder, scores.random_init, scores.raw_input)
    gain = f"{bold}{_gain(row)}{bold}" if row.beats_floors else _gain(row)
    if row.gain is not None and 0 < row.gain <= row.noise:
        gain += " (within the spread)"
    return [*(_score(side, row.name) for side in sides), gain]


def _score(side: Mapping[str, float], name: str) -> str:
    if name not in side:
        return _NONE
    spread = side.get(name + _SPREAD)
    return f"{side[name]:.3f}" + ("" if spread is None else f" \u00b1 {spread:.3f}")


def _gain(row: Row) -> str:
    return _NONE if row.gain is None else f"{row.gain:+.3f}"


def _legend(scores: Scores) -> str:
    sizes = [f"{n} {split} samples" for n, split in ((scores.num_train, "train"), (scores.num_test, "test")) if n]
    said = "Scores are fractions of the test split; \u00b1 is the std over draws; a gain in bold is larger than that."
    return f"{said} {', '.join([*sizes, f'seed {scores.seed}']).capitalize()}."


def _markdown_table(header: tuple[str, ...], cells: list[list[str]]) -> list[str]:
    rule = ["---"] + ["---:"] * (len(header) - 1)  # numbers line up on the right
    return ["| " + " | ".join(line) + " |" for line in (header, rule, *cells)]
