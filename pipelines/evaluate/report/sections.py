"""Parts of the Markdown report that stand below the table of scores; each is empty where there is nothing to say."""

from pipelines.evaluate.scoring.scores import Leaks, Scores

MEANINGS = {
    "feature_std": "spread of the directions, 0 is collapse, 1 is even",
    "rankme": "effective rank (RankMe), up to the width",
    "alpha_req": "decay of the spectrum, near 1 is healthy, far above is collapse",
    "uniformity": "how evenly the sphere is covered, 0 is collapse, lower is more even",
    "alignment": "distance between two training views of a sample, 0 is the same",
    "lidar": "effective rank by which samples differ more than their views (LiDAR)",
    "norm_outliers": "test samples with features of unusual length",
}
UNVIEWED = (
    "Alignment and LiDAR were not measured: they need the training views of a run of this recipe, two test samples "
    "and evaluate.view_samples."
)
SHOWN = 30
"""Classes that are listed; of more, the worst."""


def health(scores: Scores) -> list[str]:
    """The label-free measures with what they mean, and the samples that stand out."""
    if not scores.health:
        return []
    cells = [[f"`{n}`", MEANINGS.get(n, ""), f"{v:.4g}"] for n, v in scores.health.items()]
    lines = ["", "## Health (no labels)", "", *table(("measure", "meaning", "value"), cells, texts=2)]
    if "lidar" not in scores.health:
        lines += ["", UNVIEWED]
    if scores.outliers:
        lines += ["", f"Oddest lengths: samples {', '.join(map(str, scores.outliers))}."]
    return lines


def leaks(scores: Scores) -> list[str]:
    """How many test samples train and pre-training have seen, and the closest pairs by name."""
    lines = ["", "## Test samples among the train samples", "", *_copies(scores.leaks)] if scores.leaks else []
    if (other := scores.pretraining) is None:
        return lines
    lines += ["", "## Test samples among the pre-training samples", ""]
    return [*lines, *(_copies(other.leaks) if other.leaks else [f"Not checked: {other.missing}."])]


def _copies(found: Leaks) -> list[str]:
    if found.missing:
        rest = found.model_copy(update={"missing": ""})
        return [f"**Exact copies were not looked for**: {found.missing}.", "", *_copies(rest)]
    if not found.num_exact + found.num_near:
        return [f"None of {found.num_checked} test samples is a copy, or nearly one, of a train sample."]
    lines = [
        f"**{found.num_exact} exact and {found.num_near} near copies** among {found.num_checked} test samples "
        f"({found.rate:.2%}): scores on them are not honest. The closest:"
    ]
    cells = [
        [f"{p.test} {_code(p.test_origin)}", f"{p.train} {_code(p.train_origin)}", p.kind, f"{p.distance:.3g}"]
        for p in found.pairs
    ]
    return [*lines, "", *table(("test sample", "train sample", "alike in", "distance"), cells, texts=3)]


def classes(scores: Scores) -> list[str]:
    """Precision, recall and F1 per class, the worst first where there are many."""
    rows = list(scores.per_class)
    if not rows:
        return []
    said = f"By the predictions of `{scores.predicted_by}`; recall is the accuracy on the samples of a class."
    if len(rows) > SHOWN:
        rows = sorted(rows, key=lambda row: row.f1)[:SHOWN]
        said += f" The {SHOWN} classes with the lowest F1 of {len(scores.per_class)}."
    cells = [[_code(r.name), str(r.support), *map(r.shown, ("precision", "recall", "f1"))] for r in rows]
    header = ("class", "test samples", "precision", "recall", "F1")
    return ["", "## Classes", "", said, "", *table(header, cells)]


def table(header: tuple[str, ...], cells: list[list[str]], texts: int = 1) -> list[str]:
    """A Markdown table: so many columns of text, then numbers, which line up on the right."""
    rule = ["---"] * texts + ["---:"] * (len(header) - texts)
    return ["| " + " | ".join(line) + " |" for line in (header, rule, *cells)]


def _code(text: str) -> str:
    """Names of classes and files may hold what Markdown would take for itself."""
    return f"`{text.replace('`', ' ').replace('|', '/')}`" if text else ""
