"""A campaign's report: one HTML file that needs nothing else, report.json, and the winner as a recipe."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import yaml

from pipelines.config.parse import with_changes
from pipelines.config.tune import METRICS, oriented
from pipelines.evaluate.report import html as page
from pipelines.registry.review import campaigns
from pipelines.tracking.display import clock
from pipelines.tuning import records
from pipelines.tuning.outcome import figures
from pipelines.tuning.outcome.findings import JUDGES, Findings
from pipelines.tuning.plan import Plan
from pipelines.tuning.records import Trial
from pipelines.tuning.space import Changes

HTML, JSON, WINNER = "report.html", campaigns.CAMPAIGN, "winner.yaml"


def write(found: Findings, plan: Plan, folder: Path) -> Path:
    """Write all files into `folder`; returns the HTML's path."""
    folder.mkdir(parents=True, exist_ok=True)
    records.write(folder / JSON, found.model_dump_json(indent=1) + "\n")
    records.write(folder / WINNER, winner_recipe(found, plan))
    records.write(folder / HTML, html(found, figures.draw(found)))
    return folder / HTML


def winner_recipe(found: Findings, plan: Plan) -> str:
    """The recipe with the winner's values in it, as YAML that `selfray run` takes."""
    tree = with_changes(plan.recipe, found.best.changes)
    head = [f"{found.name}: the winner of a tuning campaign", f"Verdict:  {found.verdict}"]
    head += [f"Changed:  {key} = {value!r}" for key, value in found.best.changes.items()]
    lines = "".join("# " + " ".join(line.split()) + "\n" for line in head)
    return lines + yaml.safe_dump(tree, sort_keys=False)


def html(found: Findings, pictures: Mapping[str, bytes]) -> str:
    """The page; every name and value that comes from outside is escaped, pictures are data URIs."""
    title, verdict = f"{found.name}: tuning campaign", "verdict" if found.is_better else "verdict open"
    parts = [f"<h1>{escape(title)}</h1>", page.paragraph(found.verdict, verdict)]
    parts += [page.paragraph(line, "warn") for line in found.advice]
    parts.append(page.paragraph(_summary(found)))
    parts += ["<h2>Confirmation on fresh seeds</h2>", _confirmation(found)] if found.confirmed else []
    for caption, png in pictures.items():
        parts.append(f"<h2>{escape(caption)}</h2>{page.image(png, caption)}")
    parts += ["<h2>Which metrics ranked the trials</h2>", _agreements(found)]
    parts += ["<h2>Early stopping and cost</h2>", _rungs(found), page.paragraph(cost_line(found))]
    parts += ["<h2>Floors on the same held-out slice</h2>", _floors(found)] if found.floors else []
    parts += ["<h2>All trials</h2>", _trials(found)]
    return page.html(title, parts)


def cost_line(found: Findings) -> str:
    cost = found.cost
    line = f"Search: {cost.spent:.0f} trial-seconds"
    if cost.in_full > cost.spent * 1.001:
        line += f"; the same trials in full are estimated at {cost.in_full:.0f}, {cost.ratio:.1f} times as many"
    return line + f". Confirmation: {cost.confirmation:.0f} trial-seconds."


def _summary(found: Findings) -> str:
    states = [trial.state for trial in found.trials if trial.kind == "search"]
    counts = ", ".join(f"{states.count(s)} {s}" for s in ("done", "stopped", "collapsed", "failed") if s in states)
    return (
        f"{len(states)} search trials ({counts}); searcher {found.searcher}, scheduler {found.scheduler}. "
        f"Ranked by {found.metric}: {found.meaning}. The test split was not read."
    )


def _confirmation(found: Findings) -> str:
    rows = []
    for each in found.confirmed:
        name = "the recipe's own config" if each.trial is None else f"trial {each.trial}"
        spread = "-" if each.std is None else f"{each.std:.4f}"
        seeds = ", ".join(f"{value:.3f}" for value in each.values)
        mean = "-" if each.mean is None else f"{each.mean:.4f}"
        ended = f"{len(each.values)} of {each.num_seeds}"
        rows.append([name, _changes(each.changes), mean, spread, ended, seeds])
    best = found.confirmed.index(found.confirmation) if found.confirmation else None
    return _table(
        ["config", "values", f"mean {found.metric}", "std over seeds", "seeds ended", "each seed"],
        rows,
        best,
        numeric=(2, 3, 4),
    )


def _agreements(found: Findings) -> str:
    if not found.agreements:
        return "<p>Too few trials (or no labels) to say.</p>"
    here = {(a.metric, a.against): a for a in found.agreements}
    rows = []
    for metric, about in METRICS.items():
        cells = [f"{here[metric, j].spearman:+.2f}" if (metric, j) in here else "-" for j in JUDGES]
        if any(cell != "-" for cell in cells):
            rows.append([metric, about.meaning, *cells])
    first = found.agreements[0]
    share = "" if first.share is None else f" ({first.share:.0%} of a training)"
    note = (
        f"Spearman over {first.num_trials} trials, at the farthest look that half of them reached{share}; "
        f"within +-{min(first.chance, 1):.2f} it may be chance."
    )
    note = f"<p><small>{note}</small></p>"
    return _table(["metric", "what it is", *(f"against {j}" for j in JUDGES)], rows, None, numeric=(2, 3)) + note


def _rungs(found: Findings) -> str:
    if not found.rungs:
        in_full = all(t.state == "done" for t in found.trials if t.kind == "search")
        return f"<p>No trial was stopped early{': every one was trained in full' if in_full else ''}.</p>"
    rows = [
        [f"{r.share:.0%}", str(r.reached), str(r.stopped), "-" if r.spearman is None else f"{r.spearman:+.2f}"]
        for r in found.rungs
    ]
    return _table(["rung", "trials there", "stopped there", "rank correlation with the end"], rows, None, (0, 1, 2, 3))


def _floors(found: Findings) -> str:
    names = [name for name in METRICS if any(name in values for values in found.floors.values())]
    rows = [
        [floor.replace("_", " "), *(_number(values.get(n)) for n in names)] for floor, values in found.floors.items()
    ]
    return _table(["floor", *names], rows, None, tuple(range(1, len(names) + 1)))


def _trials(found: Findings) -> str:
    def key(trial: Trial) -> float:
        value = trial.value(found.metric)
        return float("inf") if value is None else -oriented(found.metric, value)

    ordered = sorted(found.trials, key=lambda t: (t.kind != "search", key(t)))
    rows = [
        [
            str(t.number), t.kind, t.state, _changes(t.changes), _number(t.value(found.metric)),
            f"{t.step}/{t.total}", clock(t.seconds), t.reason,
        ]
        for t in ordered
    ]  # fmt: skip
    best = next(i for i, t in enumerate(ordered) if t.number == found.winner)
    header = ["trial", "kind", "state", "values", found.metric, "steps", "time", "why"]
    return _table(header, rows, best, numeric=(0, 4, 5, 6))


def _changes(changes: Changes) -> str:
    return ", ".join(f"{key}={value}" for key, value in changes.items()) or "as written"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], best: int | None, numeric: Sequence[int] = ()) -> str:
    return page.table(header, rows, numeric=numeric, marked={} if best is None else {best: "best"})
