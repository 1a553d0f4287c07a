"""The model card: short Markdown that MLflow shows on the version's page, verdict first."""

from pipelines.registry.page import tables
from pipelines.registry.page.tables import Rows
from pipelines.registry.review.campaigns import campaign_line
from pipelines.registry.review.outcome import Review
from pipelines.tracking.markdown import plain, table
from pipelines.tracking.ui import run_link

MAX_LENGTH = 5000  # MLflow's column of a version's description


def markdown(review: Review) -> str:
    """The whole card."""
    facts, against = review.facts, review.against
    parts = [review.verdict, *_campaign(review), f"# {facts.title}", _what(review), _decide(review)]
    parts += [_heading("Gates"), _table(tables.gates(review))]
    if facts.judged and facts.judged.encoder:
        where = f"On {facts.elsewhere.folder}, as its own data have no labels:" if facts.elsewhere else ""
        parts += [_heading("Scores"), where, _table(tables.scores(facts.judged)), _protocols(review)]
    if against is not None:
        parts.append(_heading(f"Against {against.first}"))
        parts.append(_table(tables.gains(against)) if against.gains else against.unpaired or "No score of both.")
        if against.changed:
            parts += ["What was changed:", _table(tables.changed(against))]
    parts += [_heading("Data"), _table(tables.data(facts)), _heading("Limits"), _bullets(limits(review))]
    parts += [_heading("Load"), _code(how_to_load(review), "python"), _heading("Reproduce")]
    parts.append(_code(how_to_reproduce(review), "sh"))
    return "\n\n".join(part for part in parts if part) + "\n"


def description(review: Review) -> str:
    """The card, cut after the last whole part that MLflow's column holds."""
    text = markdown(review)
    more = "\n\n(cut; the whole report is `review/review.html` of the source run)\n"
    if len(text) <= MAX_LENGTH:
        return text
    return text[: MAX_LENGTH - len(more)].rpartition("\n\n")[0] + more


def limits(review: Review) -> list[str]:
    """What a user of the encoder should know, from what was logged."""
    facts, scores = review.facts, review.facts.scores
    said = [
        f"Gate `{gate.name}` failed: {gate.why or gate.measured}." for gate in review.judged if gate.passed is False
    ]
    if scores and scores.num_test and not facts.elsewhere:
        said.append(f"Scored on {scores.num_test:,} test samples of its own source; other data may differ.")
    if scores and scores.per_class:
        weak = sorted(scores.per_class, key=lambda each: each.f1)[:3]
        said.append("Weakest classes: " + ", ".join(f"{plain(each.name)} (F1 {each.f1:.2f})" for each in weak) + ".")
    if scores and not scores.encoder and not facts.elsewhere:
        said.append("The data have no labels: what the features are good for has not been measured.")
    return [*said, *(plain(sentence) for sentence in facts.missing)]


def how_to_load(review: Review) -> str:
    return (
        "import mlflow\nfrom pipelines.model.loader import load_encoder\n\n"
        f'mlflow.set_tracking_uri("{review.tracking_uri}")\n'
        f'embeddings = mlflow.pyfunc.load_model("{review.uri}").predict([png_bytes])  # [N, D]\n'
        f'encoder = load_encoder("{review.uri}")  # a torch.nn.Module, after checking its sha256'
    )


def how_to_reproduce(review: Review) -> str:
    line, code = review.facts.lineage, review.facts.lineage.code
    place = review.facts.campaign  # of one without a run of its own, the run logged the recipe, not the winner
    config = "report/winner.yaml" if place and not place.run_id else "config.yaml"
    lines = [f"export MLFLOW_TRACKING_URI={review.tracking_uri}"]
    lines += [f"git checkout {code.commit}"] if code and code.commit else []
    if code and code.patch:
        lines += [f"mlflow artifacts download -r {code.run_id} -a {code.patch} -d .", f"git apply {code.patch}"]
    for other in line.trained[1:]:
        lines.append(f"# training was interrupted, and went on at commit {other.commit or '(unknown)'}: see Lineage")
    lines += [f"mlflow artifacts download -r {line.run_id} -a {config} -d .", f"selfray run {config}"]
    return "\n".join(lines)


def _decide(review: Review) -> str:
    """Where the whole review is, and how to decide: the button of MLflow's pages asks no gate."""
    facts = review.facts
    page = "The whole review is `review/review.html` of the source run"
    if facts.experiment_id:
        link = run_link("review.html", facts.experiment_id, facts.lineage.run_id, "artifacts/review/review.html")
        page = f"The whole review: {link}"
    return (
        f"{page}. Decide with `selfray promote {facts.name} --version {facts.version}`: MLflow's own *Promote model* "
        "button and its alias menu go past the gates, and the next `selfray` command takes back what they did."
    )


def _campaign(review: Review) -> list[str]:
    if (place := review.facts.campaign) is None:
        return []
    link = f" {run_link('The campaign', place.experiment_id, place.run_id)}" if place.run_id else ""
    return [plain(campaign_line(place.verdict, place.trial, place.num_trials)) + link]


def _what(review: Review) -> str:
    config = review.facts.config
    method, encoder = config.get("method.name", "?"), config.get("encoder.name", "?")
    amount = next(
        (f"{config[f'train.{unit}']} {unit}" for unit in ("epochs", "steps") if config.get(f"train.{unit}")), ""
    )
    trained = f", {amount}" if amount else ""
    code = review.facts.lineage.code
    dirty = " (with uncommitted changes)" if code and code.dirty else ""
    commit = f" at commit {code.commit[:12]}{dirty}" if code and code.commit else ""
    commit += f", resumed at {len(review.facts.lineage.trained) - 1} more" if review.facts.lineage.trained[1:] else ""
    return f"A frozen image encoder (`{encoder}`), pre-trained without labels by `{method}`{trained}{commit}."


def _protocols(review: Review) -> str:
    scores = review.facts.judged
    return _bullets([plain(line) for line in scores.protocols.values()]) if scores else ""


def _heading(text: str) -> str:
    return f"## {text}"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _code(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"


def _table(rows: Rows) -> str:
    return "\n".join(table(rows.header, [[plain(cell) for cell in line] for line in rows.cells], rows.numeric))
