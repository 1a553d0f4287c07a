"""The review as a page: verdict first, then what it rests on, then what to type."""

import re
from html import escape
from pathlib import Path

from pipelines.evaluate.report import html
from pipelines.evaluate.report.sections import UNVIEWED
from pipelines.evaluate.scoring.scores import Scores
from pipelines.registry.page import card, figures, tables
from pipelines.registry.page.figures import Case, Shot
from pipelines.registry.page.tables import Rows
from pipelines.registry.review.campaigns import campaign_line
from pipelines.registry.review.facts import Subject
from pipelines.registry.review.gates import seen
from pipelines.registry.review.outcome import Review

_PICTURE = re.compile(r"^!\[(?P<caption>[^\]]*)\]\((?P<file>[\w.-]+\.png)\)$", re.MULTILINE)
_OURS = {"map.png", "neighbors.png"}  # drawn here for both encoders


def write(review: Review, subject: Subject, champion: Subject | None, pair: tuple[Subject, Subject] | None) -> str:
    """The whole page; every name and value that comes from outside is escaped.

    Args:
        pair: champion and version with the scores that they were compared by; None: there was nothing to compare with.
    """
    sections = {
        "Gates": _gates(review),
        "Against the champion": _against(review),
        "Scores": _scores(review),
        "Health": _health(review),
        "Leaks": _leaks(review),
        "Embedding maps": _maps(subject, champion),
        "Neighbors": _neighbors(review, subject, pair),
        "Pictures": _pictures(subject.report),
        "Campaign": _campaign(review),
        "Data": _listed(tables.data(review.facts)),
        "Lineage": _listed(tables.lineage(review.facts)),
        "Use it": _use(review),
        "Decide": _decide(review),
    }
    shown = {title: body for title, body in sections.items() if body}
    links = "".join(f'<a href="#s{i}">{escape(title)}</a>' for i, title in enumerate(shown))
    parts = [f"<h1>{escape(review.facts.title)}</h1>", f"<small>{escape(_byline(review))}</small>"]
    parts.append(html.paragraph(review.verdict, "verdict fail" if review.failed else "verdict"))
    parts += [html.paragraph(sentence, "warn") for sentence in review.facts.missing]
    if place := review.facts.campaign:
        parts.append(html.paragraph(campaign_line(place.verdict, place.trial, place.num_trials), "verdict open"))
    parts.append(f"<nav>{links}</nav>")
    parts += [f'<h2 id="s{i}">{escape(title)}</h2>\n{body}' for i, (title, body) in enumerate(shown.items())]
    return html.html(f"{review.facts.title}: review", parts)


def _byline(review: Review) -> str:
    aliases = "".join(f" @{alias}" for alias in review.facts.aliases)
    against = review.against.first if review.against else "nothing: there is no champion yet"
    if "champion" in review.facts.aliases:
        against = "its floors: it is the champion"
    time = review.time[:16].replace("T", " ")
    return f"{review.uri}{aliases} - reviewed {time} UTC against {against}; gates from {review.gates_from}"


def _gates(review: Review) -> str:
    rows = tables.gates(review)
    tags = {"pass": "pass", "FAIL": "fail", "n/a": ""}
    cells = [
        [f'<span class="tag {tags[passed]}">{passed}</span>', re.sub("([._])", r"\1<wbr>", escape(name)), *more]
        for passed, name, *more in rows.cells
    ]  # long names may break: MLflow shows the page in a narrow frame
    bad = {i: "bad" for i, gate in enumerate(review.judged) if gate.passed is False}
    return html.table(rows.header, cells, marked=bad, markup=(0, 1))


def _against(review: Review) -> str:
    if (against := review.against) is None:
        return ""
    parts = []
    if against.unpaired:
        parts.append(html.paragraph(f"No paired comparison: {against.unpaired}.", "warn"))
    if against.gains:
        by = f" of {against.evaluations}" if against.evaluations else ""
        shared = f"Paired on {against.num_shared:,} shared test samples{by}." if against.num_shared else ""
        parts += [_table(tables.gains(against)), f"<p><small>{escape(shared)}</small></p>"]
    if picture := figures.gains(against):
        parts.append(html.image(picture, "gains on the champion with their intervals"))
    parts.append("<h3>Changed keys of the config</h3>")
    parts.append(_table(tables.changed(against)) if against.changed else html.paragraph(_unchanged(review)))
    return "\n".join(parts)


def _unchanged(review: Review) -> str:
    known = review.facts.config and review.champion and review.champion.config
    return "None: the same config ran twice." if known else "Unknown: a config was not logged."


def _scores(review: Review) -> str:
    scores, elsewhere = review.facts.judged, review.facts.elsewhere
    theirs = None if elsewhere else _champions(review)
    if scores is None or not scores.encoder:
        return (
            html.paragraph("The data have no labels, so there are no scores; see the health measures.")
            if scores
            else ""
        )
    sizes = f"{scores.num_test or 0:,} test and {scores.num_train or 0:,} train samples, seed {scores.seed}."
    protocols = "".join(f"<li>{escape(line)}</li>" for line in scores.protocols.values())
    where = f"Its own data have no labels: scored on {elsewhere.folder} by run {elsewhere.run_id}." if elsewhere else ""
    parts = [html.paragraph(where, "warn")] if where else []
    parts += [_table(tables.scores(scores)), f"<p><small>{escape(sizes)}</small></p>", f"<ul>{protocols}</ul>"]
    if scores.per_class:
        parts += [f"<h3>Per class, by {escape(scores.predicted_by or review.facts.headline)}</h3>"]
        parts.append(_table(tables.per_class(scores, theirs)))
        if (more := len(scores.per_class) - tables.MOST) > 0:
            parts.append(html.paragraph(f"{more} classes with a higher F1 are in review.json."))
    if scores.robustness:
        parts += ["<h3>Robustness</h3>", _table(tables.robustness(scores, theirs))]
    return "\n".join(parts)


def _health(review: Review) -> str:
    scores, theirs = review.facts.scores, _champions(review)
    if scores is None or not scores.health:
        return ""
    parts = [_table(tables.health(scores, theirs))]
    if theirs is None and review.champion is not None:
        parts.append(
            html.paragraph(
                "The champion was scored on other data, or nobody knows which: its numbers say nothing here."
            )
        )
    return "".join([*parts, *([] if "lidar" in scores.health else [html.paragraph(UNVIEWED)])])


def _champions(review: Review) -> Scores | None:
    """The champion's scores where they are of the same data; else its numbers say nothing beside these."""
    ours, theirs = review.facts, review.champion
    if theirs is None or not ours.lineage.data_key or ours.lineage.data_key != theirs.lineage.data_key:
        return None
    return theirs.scores


def _leaks(review: Review) -> str:
    parts = []
    for look in seen(review.facts, review.against):
        if look.missing or look.leaks is None:
            parts.append(html.paragraph(f"Whether test samples are also in {look.where}: {look.missing}.", "warn"))
        if (found := look.leaks) is None:
            continue
        copies = f"{found.num_exact} are exact and {found.num_near} near copies of samples in {look.where}"
        parts.append(html.paragraph(f"Of {found.num_checked:,} test samples looked at, {copies}."))
        parts += [_table(tables.leaks(found))] if found.pairs else []
    return "\n".join(parts)


def _maps(subject: Subject, champion: Subject | None) -> str:
    drawn = {each.facts.title: figures.embedding_map(each) for each in (subject, champion) if each is not None}
    pictures = [html.image(png, f"embedding map of {title}") for title, png in drawn.items() if png]
    return f'<div class="pair">{"".join(pictures)}</div>' if pictures else ""


def _neighbors(review: Review, subject: Subject, pair: tuple[Subject, Subject] | None) -> str:
    note = "Neighbors are searched among the stored test samples."
    if subject.samples is not None and subject.samples.label is not None:
        note = f"Green frame: the query's class; dashed: another one. {note}"
    parts = [f"<p><small>{escape(note)}</small></p>"]
    headline, found = review.facts.headline, figures.won_and_lost(pair) if pair else None
    if found is not None:
        for caption, cases in found.items():
            parts.append(f"<h3>{escape(f'{caption}, by {headline}')}</h3>")
            parts += [_case(case) for case in cases] or [html.paragraph("None among the stored test samples.")]
        return "\n".join(parts)
    plain = figures.plain(subject, pair)
    if pair:
        why = review.against.unpaired if review.against else ""
        why = why or f"{headline or 'there is no score that'} says nothing of single test samples"
        parts.append(
            html.paragraph(f"Samples won and lost cannot be told: {why}. Some samples and their neighbors:", "warn")
        )
    for caption, cases in plain.items():
        parts += [f"<h3>{escape(caption)}</h3>", *map(_case, cases)]
    return "\n".join(parts) if plain else ""


def _case(case: Case) -> str:
    lines = []
    for title, shots in case.neighbors.items():
        pictures = "".join(_shot(shot) for shot in shots)
        short = title.removeprefix(title.partition(" version ")[0]).strip() or title  # the end tells the two apart
        lines.append(f'<div class="shots"><b title="{escape(title)}">{escape(short)}</b>{_shot(case.query)}')
        lines.append(f'<span class="gap"></span>{pictures}</div>')
    caption = f"<figcaption>{escape(case.query.label)}</figcaption>" if case.query.label else ""
    return f"<figure>{caption}{''.join(lines)}</figure>"


def _shot(shot: Shot) -> str:
    return html.image(shot.png, shot.label or "sample", {True: "yes", False: "no", None: ""}[shot.same])


def _pictures(report: Path) -> str:
    """What the evaluation drew, by its captions."""
    text = (report / "report.md").read_text() if (report / "report.md").exists() else ""
    found = {each["caption"]: report / each["file"] for each in _PICTURE.finditer(text) if each["file"] not in _OURS}
    drawn = {caption: path.read_bytes() for caption, path in found.items() if path.is_file()}
    return "\n".join(f"<h3>{escape(caption)}</h3>{html.image(png, caption)}" for caption, png in drawn.items())


def _campaign(review: Review) -> str:
    if (place := review.facts.campaign) is None:
        return ""
    where = "the campaign's run" if place.run_id else "the run"
    said = html.paragraph(f"The campaign's own page is report/report.html of {where}.")
    server = review.tracking_uri.rstrip("/")
    if place.run_id and server.startswith(("http://", "https://")):
        url = escape(f"{server}/#/experiments/{place.experiment_id}/runs/{place.run_id}/artifacts/report/report.html")
        said = f'<p>The campaign\'s own page: <a href="{url}" target="_blank">{url}</a></p>'
    return _table(tables.campaign(place)) + said


def _use(review: Review) -> str:
    load, again = card.how_to_load(review), card.how_to_reproduce(review)
    return f"<h3>Load</h3><pre>{escape(load)}</pre><h3>Reproduce</h3><pre>{escape(again)}</pre>"


def _decide(review: Review) -> str:
    name, version = review.facts.name, review.facts.version
    force = " --force" if review.failed else ""
    commands = f"selfray promote {name} --version {version} --by YOU --why TEXT{force}\n"
    commands += f"selfray reject {name} --version {version} --by YOU --why TEXT"
    past = "".join(f"<li>{escape(entry.line())}</li>" for entry in review.decisions) or "<li>none yet</li>"
    past_gates = (
        "MLflow's own 'Promote model' button and its alias menu go past these gates; the next selfray command takes "
        "back what they did."
    )
    warning = html.paragraph(past_gates, "warn")
    return f"<pre>{escape(commands)}</pre>{warning}<h3>Decisions so far</h3><ul>{past}</ul>"


def _table(rows: Rows) -> str:
    return html.table(rows.header, rows.cells, numeric=rows.numeric)


def _listed(rows: Rows) -> str:
    return html.table(rows.header, rows.cells) if rows.cells else ""
