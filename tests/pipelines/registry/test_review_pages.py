"""The report and MLflow's own pages, opened in a real browser."""

import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from pipelines.model import versions
from pipelines.registry.registry import Registry
from pipelines.registry.review import actions, files
from pipelines.tracking import view
from tests.support.browser import MISSING, Browser
from tests.support.reviewed import HEADLINE, OVERLAP, recipe, register

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900), pytest.mark.skipif(bool(MISSING), reason=MISSING)]
PICTURES = os.environ.get("SELFRAY_PICTURES")
"""A folder to keep screenshots in, for people."""
_MODE = "workflowType=machine_learning"


@pytest.fixture(scope="module")
def reviewed(mlflow_server, tmp_path_factory):
    """A model with a champion, a candidate that was reviewed against it, and the folder of the report."""
    root = tmp_path_factory.mktemp("pages")
    config = recipe(root, "seen", **{"tracking.uri": mlflow_server.uri})
    register(root, config, 40, seed=0)
    server = Registry(mlflow_server.uri)
    actions.promote(server, "seen", 1, by="ann", why="the first")
    register(root, recipe(root, "seen", **{"tracking.uri": mlflow_server.uri, "optim.lr": 0.02}), 52, seed=1)
    case = actions.examine(server, versions.parse("seen"))
    page = files.write(case, root / "page")
    files.attach(server, case, page.parent)
    return server, case, page


@pytest.fixture(scope="module")
def others(mlflow_server, tmp_path_factory):
    """Pages on disk of a version that fails its gates and of one without labels, both against a champion."""
    root = tmp_path_factory.mktemp("others")

    def page(name, first, second):
        for seed, more in enumerate((first, second)):
            changes = {"tracking.uri": mlflow_server.uri, "optim.lr": 0.01 * (seed + 1)}
            register(root, recipe(root, name, **changes), seed=seed, **more)
        server = Registry(mlflow_server.uri)
        server.client.set_registered_model_alias(name, "champion", "1")
        case = actions.examine(server, versions.parse(f"{name}/2"))
        return case, files.write(case, root / name)

    bare = {"scored": False, "shards": "bare"}
    return {
        "failing": page("failing", {"right": 50}, {"right": 20, "leaks": OVERLAP}),
        "unlabelled": page("unlabelled", bare, bare),
    }


@pytest.fixture(scope="module")
def browser():
    with Browser() as window:
        yield window


def keep(browser: Browser, name: str) -> None:
    if PICTURES:
        browser.picture(Path(PICTURES) / f"{name}.png")


def test_the_report_shows_its_verdict_and_every_picture(browser, reviewed):
    _, case, page = reviewed
    browser.open(page.as_uri())
    text = browser.wait_for(case.review.verdict)
    assert text.index(case.review.verdict) < text.index("Gates") < text.index("Lineage")
    assert "<b>dog</b>" in text  # a class of that name, shown as text
    assert browser.broken_images() == [] and browser.errors() == []
    assert browser.run("return document.images.length") > 40
    assert (
        browser.run("return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length")
        == 0
    )
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    keep(browser, "report")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("failing", ["FAIL 3/8 gates: floors, max_regression", "b/<1>.png", "Lost to the champion", "--force"]),
        ("unlabelled", ["PASS 6/6 gates | no labels, so not scored", "Samples won and lost cannot be told", "rankme"]),
    ],
)
def test_pages_of_versions_that_fail_or_have_no_labels(browser, others, name, shown):
    case, page = others[name]
    browser.open(page.as_uri())
    text = browser.wait_for(case.review.verdict)
    keep(browser, name)
    assert all(words in text for words in shown), text
    assert "None among the stored test samples." not in text.partition("Lost to the champion")[2]
    assert browser.broken_images() == [] and browser.errors() == []
    assert browser.run("return document.images.length") > 20
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_mlflows_list_of_versions_shows_the_verdict(browser, reviewed):
    server, case, _ = reviewed
    browser.open(f"{server.uri}/#/models/seen?{_MODE}")
    text = browser.wait_for("PASS")
    assert case.review.verdict[:40] in text
    keep(browser, "list")
    assert browser.errors() == []


def test_mlflows_page_of_the_version_shows_card_and_tags(browser, reviewed):
    server, _, _ = reviewed
    browser.open(f"{server.uri}/#/models/seen/versions/2?{_MODE}")
    text = browser.wait_for("review.verdict")
    assert "PASS" in text and HEADLINE in text and "candidate" in text
    keep(browser, "version")
    assert browser.errors() == []


def test_mlflow_shows_the_report_among_the_artifacts(browser, reviewed):
    server, case, _ = reviewed
    run = server.run(case.review.facts.lineage.run_id)
    place = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/review/review.html"
    browser.open(f"{server.uri}/#/{place}?{_MODE}")
    found = "[...document.querySelectorAll('iframe')].map(f => f.srcdoc || f.src).join(' ')"
    browser.wait(lambda: bool(browser.run(f"return {found}.length > 0")), "the artifact's frame")
    with browser.frame():
        text = browser.wait_for(case.review.verdict)
        assert text.index(case.review.verdict) < text.index("Gates")
        assert browser.run("return document.images.length") > 40 and browser.broken_images() == []
    keep(browser, "artifact")
    assert browser.errors() == []


def test_mlflow_compares_champion_and_candidate(browser, reviewed):
    server, _, _ = reviewed
    browser.open(f"{server.uri}/#/compare-model-versions?name=%22seen%22&runs={_runs(server)}&{_MODE}")
    text = browser.wait_for(HEADLINE)
    assert "Comparing 2 Versions" in text
    assert "0.667" in text and "0.867" in text  # 40 and 52 of 60
    keep(browser, "compare")
    assert browser.errors() == []


def _runs(server: Registry) -> str:
    """As MLflow's own link has it (ModelView.tsx, onCompare): version -> run id, as JSON."""
    return quote(json.dumps({v.version: v.run_id for v in server.versions("seen")}))


def test_mlflows_list_of_runs_shows_verdict_scores_and_floors_and_no_log_of_decisions(reviewed):
    server, case, _ = reviewed
    experiment = recipe(Path(), "seen").tracking.experiment
    with Browser(width=1700, height=900) as wide:  # columns that do not fit are not drawn
        wide.open(f"{server.uri}/#{view.place(server.uri, experiment)}&{_MODE}")
        for words in ("headline", *view.FLOORS, view.VERDICT, "beats both floors", "temperature"):
            text = wide.wait_for(words)
        keep(wide, "runs")
        assert "seen: decisions" not in text and wide.errors() == []
    run = server.client.get_run(case.review.facts.lineage.run_id)
    value = run.data.metrics[view.HEADLINE]
    assert value == case.review.facts.scores.encoder[HEADLINE] and str(value) in text
