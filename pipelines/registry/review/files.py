"""The files of a review: written into a folder, and attached to the version in MLflow."""

import json
from pathlib import Path

from pipelines.errors import UserError
from pipelines.registry.decisions import MAX_WHY
from pipelines.registry.page import card, html
from pipelines.registry.registry import Registry
from pipelines.registry.review.actions import Case
from pipelines.registry.review.outcome import Review

HTML, JSON, CARD = "review.html", "review.json", "card.md"
FOLDER = "review"
"""Of the artifacts of the version's run."""


def write(case: Case, folder: Path) -> Path:
    """Write page, JSON and card into `folder`, over an earlier review; returns the page's path.

    Raises:
        UserError: a file of one of these names is there that is no review's.
    """
    may_write(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(case.review.model_dump_json(indent=1) + "\n")
    (folder / CARD).write_text(card.markdown(case.review))
    (folder / HTML).write_text(html.write(case.review, case.subject, case.champion, case.pair))
    return folder / HTML


def may_write(folder: Path) -> None:
    """
    Raises:
        UserError: as `write`.
    """
    there = [name for name in (HTML, JSON, CARD) if (folder / name).exists()]
    if there and not _is_review(folder / JSON):
        raise UserError(f"--output: {folder}: holds {there[0]!r}, which review did not write; give another folder")


def _is_review(path: Path) -> bool:
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(tree, dict) and {"verdict", "facts", "judged"} <= set(tree)


def attach(server: Registry, case: Case, folder: Path) -> None:
    """Put the written review where MLflow's pages show it: the run's artifacts, the version's description and tags."""
    review, facts = case.review, case.review.facts
    tags = {
        "review.verdict": review.verdict[:MAX_WHY],
        "review.time": review.time,
        "review.against": _against(review),
        "review.page": f"#/experiments/{facts.experiment_id}/runs/{facts.lineage.run_id}/artifacts/{FOLDER}/{HTML}",
    }
    with server.asked():
        for name in (HTML, JSON, CARD):  # and nothing else that a folder of the user's may hold
            server.client.log_artifact(facts.lineage.run_id, str(folder / name), FOLDER)
        server.client.set_tag(facts.lineage.run_id, "review.verdict", tags["review.verdict"])
        for key, value in tags.items():
            server.client.set_model_version_tag(facts.name, str(facts.version), key, value)
        server.client.update_model_version(facts.name, str(facts.version), card.description(review))


def _against(review: Review) -> str:
    if review.against is not None:
        return review.against.first
    return "nothing: it is the champion" if "champion" in review.facts.aliases else "no champion"
