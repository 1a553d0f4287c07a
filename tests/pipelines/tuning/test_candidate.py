"""What a version that won a campaign says of it, where a reviewer of that version alone looks."""

from pathlib import Path

import pytest

from pipelines.model import versions
from pipelines.registry.registry import Registry
from pipelines.registry.review import actions, files
from pipelines.tracking import runs
from pipelines.tracking.server import storage
from pipelines.tuning import candidate
from pipelines.tuning.confirm import plan_confirmation
from pipelines.tuning.outcome import findings, report
from pipelines.tuning.trials.runs import finish, link
from tests.support import reviewed
from tests.support.campaigns import campaign, peak_at, play
from tests.support.campaigns import recipe as campaign_recipe

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def won(tmp_path_factory):
    """A campaign's findings, its run's id, the registry that holds its winner, and the winner's review."""
    root: Path = tmp_path_factory.mktemp("won")
    config = reviewed.recipe(root, "tuned")
    made = campaign(root / "tune", campaign_recipe(num_trials=6))
    play(made, made.next_search, peak_at(0.3))
    plan_confirmation(made)
    play(made, made.next_confirmation, peak_at(0.3))
    found = findings.find(made, "tuned", {})
    page = report.write(found, made.plan, root / "report")
    version = None
    for _ in range(2):  # the second time as by the same command again
        with runs.run(config, root, campaign="abc"):
            finish(found, page.parent)
            version = version or reviewed.register(root, config, 45)
            link(version)
            candidate.tell(version, found)
            run_id = runs.current().run_id
    server = Registry(storage(config, root))
    return found, run_id, server, actions.examine(server, versions.parse("tuned"))


def test_the_version_and_its_run_say_the_campaigns_verdict(won):
    found, run_id, server, _ = won
    version = server.client.get_model_version("tuned", "1")
    run = server.client.get_run(version.run_id)
    assert version.run_id != run_id
    for tags in (version.tags, run.data.tags):
        assert tags[candidate.VERDICT] == found.verdict and tags[candidate.RUN] == run_id
        assert tags[candidate.TRIAL] == str(found.winner) and tags[candidate.TRIALS] == "6"
    for text in (version.description, run.data.tags["mlflow.note.content"]):
        assert text.count(f"Campaign: {found.verdict}; won by trial {found.winner} of 6.") == 1
        assert text.count(f"/runs/{run_id})") == 1
    assert version.description.startswith(version.tags["selfray.verdict"]), "the list of versions shows the first line"


def test_the_campaigns_run_has_mean_spread_and_the_recipes_own_and_a_description(won):
    found, run_id, server, _ = won
    run = server.client.get_run(run_id)
    assert run.data.metrics["confirmed/mean"] == pytest.approx(found.confirmation.mean)
    assert run.data.metrics["confirmed/std"] == pytest.approx(found.confirmation.std)
    (own,) = [each for each in found.confirmed if each.trial is None]
    assert run.data.metrics["recipe/mean"] == pytest.approx(own.mean)
    note = run.data.tags["mlflow.note.content"]
    assert found.verdict in note and f"/runs/{run_id}/artifacts/report/report.html)" in note


def test_review_page_and_card_say_it_first(won, tmp_path):
    found, run_id, server, case = won
    place = case.review.facts.campaign
    assert place.run_id == run_id and place.verdict == found.verdict and place.trial == found.winner
    assert "method.temperature" in place.values
    page = files.write(case, tmp_path / "page")
    text = page.read_text()
    assert text.index("Campaign: ") < text.index("<nav>") and run_id in text and "best trial" in text
    card = (page.parent / files.CARD).read_text()
    assert "Campaign: " in card.partition("# tuned version 1")[0] and run_id in card
    assert "-a config.yaml" in card, "the winner's own run logged the winner's config"
    files.attach(server, case, page.parent)
    assert "Campaign: " in server.client.get_model_version("tuned", "1").description


def test_a_review_stands_when_the_campaigns_run_is_gone(won):
    found, _, server, case = won
    server.client.set_tag(case.review.facts.lineage.run_id, candidate.RUN, "0" * 32)
    place = actions.examine(server, versions.parse("tuned")).review.facts.campaign
    assert place.verdict == found.verdict and place.values == {}
