"""What a campaign says of itself: verdict, ranks, cost, and a page that needs nothing else."""

import json
import re

import pytest
import yaml

from pipelines.config import parse
from pipelines.tuning import findings, report
from pipelines.tuning.confirm import plan_confirmation
from pipelines.tuning.findings import Findings
from tests.support.campaigns import campaign, peak_at, play, recipe

FLOORS = {"raw_input": {"knn_top1": 0.4, "rankme": 3.0}, "random_init": {"knn_top1": 0.3}}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    made = campaign(tmp_path_factory.mktemp("played"), recipe(num_trials=16))
    play(made, made.next_search, peak_at(0.3))
    plan_confirmation(made)
    play(made, made.next_confirmation, peak_at(0.3))
    return made


@pytest.fixture(scope="module")
def found(played) -> Findings:
    return findings.find(played, "<b>tiny</b>", FLOORS)


def test_the_verdict_compares_with_the_recipe_on_the_same_seeds(found, played):
    assert found.verdict.startswith("better than the recipe beyond the noise (+0.1")
    assert found.winner == found.confirmed[0].trial and found.confirmed[-1].trial is None
    assert all(len(each.values) == 3 for each in found.confirmed)


def test_a_gain_within_the_noise_is_not_called_better(tmp_path):
    made = campaign(tmp_path, recipe(num_trials=6))

    def luck(trial, share):
        noise = (trial.number * 7 % 5) / 50
        return {"knn_top1": 0.5 + noise, "feature_std": 0.5}

    play(made, made.next_search, luck)
    plan_confirmation(made)
    play(made, made.next_confirmation, luck)
    assert "not better than the recipe beyond the noise" in findings.find(made, "luck", {}).verdict


def test_without_a_confirmation_it_says_that_luck_was_not_measured(tmp_path):
    made = campaign(tmp_path, recipe(confirm={"seeds": 0}))
    play(made, made.next_search, peak_at(0.3))
    plan_confirmation(made)
    found = findings.find(made, "one", {})
    assert "how much of that is luck was not measured" in found.verdict and found.winner == made.ranked()[0].number


def test_a_metric_that_ranks_backwards_is_said_to(found):
    ranks = {(a.metric, a.against): a.spearman for a in found.agreements}
    assert ranks["rankme", "knn_top1"] == -1 and ranks["alignment_uniformity", "knn_top1"] == 1
    assert ranks["linear_top1", "knn_top1"] == 1
    assert [line.split(" ")[0] for line in found.advice] == ["rankme"] and "backwards" in found.advice[0]


def test_the_saving_is_what_the_stopped_trials_did_not_train(found, played):
    search = played.of("search")
    assert found.cost.spent == pytest.approx(sum(t.step for t in search) / 10)
    assert found.cost.in_full == pytest.approx(9.0 * len(search))
    assert sum(rung.stopped for rung in found.rungs) == sum(t.state == "stopped" for t in search)


def test_importance_is_of_the_key_that_decides(tmp_path):
    made = campaign(tmp_path, recipe(num_trials=20, scheduler="none", searcher="random"))
    play(made, made.next_search, lambda t, s: {"knn_top1": t.changes["method.temperature"], "feature_std": 0.5})
    importance = findings.find(made, "one key", {}).importance
    assert importance["method.temperature"] > 0.9 and importance["optim.lr"] < 0.4


def test_the_page_stands_alone_and_escapes_names(found, played, tmp_path):
    page = report.write(found, played.plan, tmp_path).read_text()
    assert "&lt;b&gt;tiny" in page and "<b>tiny" not in page
    assert not re.search(r'(src|href)="(?!data:)', page) and "http" not in re.sub(r"data:[^\"]*", "", page)
    assert page.count("data:image/png;base64,") == 4
    for words in ("Learning curves", "Parallel coordinates", "rank correlation with the end", "random init"):
        assert words in page


def test_the_json_reads_back_and_the_winner_is_a_recipe(found, played, tmp_path):
    report.write(found, played.plan, tmp_path)
    assert Findings.model_validate_json((tmp_path / report.JSON).read_text()) == found
    assert json.loads((tmp_path / report.JSON).read_text())["winner"] == found.winner
    winner = parse(yaml.safe_load((tmp_path / report.WINNER).read_text()))
    assert winner.method.temperature == found.best.changes["method.temperature"] and winner.tune is None
