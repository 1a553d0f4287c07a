"""What a campaign says of itself: verdict, ranks, cost, and a page that needs nothing else."""

import json
import re

import pytest
import yaml

from pipelines.config import parse
from pipelines.tuning import findings, report
from pipelines.tuning.confirm import plan_confirmation
from pipelines.tuning.findings import Findings
from pipelines.tuning.flow import winner_of
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


def confirmed(tmp_path, scores) -> Findings:
    """A campaign whose fresh seeds 1, 2, 3 score `scores[rank]`; rank None is the recipe's own config, 0 the best."""
    made = campaign(tmp_path, recipe(num_trials=6))
    play(made, made.next_search, peak_at(0.3))
    ranks = {trial.number: rank for rank, trial in enumerate(made.ranked())}
    plan_confirmation(made)

    def curve(trial, share):
        score = scores[ranks.get(trial.of)][trial.changes["seed"] - 1]
        return {"feature_std": 0.0} if score is None else {"feature_std": 0.5, "knn_top1": score}

    play(made, made.next_confirmation, curve)
    found = findings.find(made, "seeds", {})
    report.write(found, made.plan, tmp_path / "report")
    return found


def test_two_standard_errors_of_three_seeds_are_not_beyond_the_noise(tmp_path):
    own, low = (0.50, 0.52, 0.54), (0.3, 0.3, 0.3)
    near = confirmed(tmp_path / "near", {None: own, 0: (0.54, 0.56, 0.58), 1: low}).verdict
    assert near.startswith("not better than the recipe beyond the noise (+0.040, 95 % interval -0.005 to +0.085)")
    far = confirmed(tmp_path / "far", {None: own, 0: (0.55, 0.57, 0.59), 1: low}).verdict
    assert far.startswith("better than the recipe beyond the noise (+0.050, 95 % interval +0.005 to +0.095)")


def test_seeds_that_collapsed_are_said_and_put_their_config_last(tmp_path):
    own, steady = (0.50, 0.52, 0.54), (0.55, 0.57, 0.59)
    found = confirmed(tmp_path / "best", {None: own, 0: (0.9, None, 0.9), 1: steady})
    assert [(c.values, c.num_seeds) for c in found.confirmed] == [(steady, 3), (own, 3), ((0.9, 0.9), 3)]
    assert found.winner == found.confirmed[0].trial
    assert "<td class=n>2 of 3</td>" in (tmp_path / "best/report/report.html").read_text()
    both = confirmed(tmp_path / "both", {None: own, 0: (0.9, None, 0.9), 1: (None, None, 0.8)})
    assert "knn_top1 0.900 +- 0.000 (2 of 3 seeds ended) against 0.520 +- 0.020 (3 seeds)" in both.verdict
    none = confirmed(tmp_path / "none", {None: own, 0: (None, None, None), 1: (None, None, None)})
    assert none.verdict.endswith("on one seed; none of the best configs came to its end on a fresh seed")
    alone = confirmed(tmp_path / "alone", {None: (None, None, None), 0: steady, 1: steady})
    assert "the recipe's own config came to its end on no fresh seed" in alone.verdict


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


def test_the_recipes_own_values_are_known(found):
    assert found.own == {"method.temperature": 0.5, "optim.lr": 0.01}


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


def test_the_winner_is_tracked_with_the_login_that_no_file_holds(tmp_path):
    uri = "https://ann:correct-horse@mlflow.example.org"
    config = recipe()
    config = config.model_copy(update={"tracking": config.tracking.model_copy(update={"uri": uri})})
    made = campaign(tmp_path, config)
    play(made, made.next_search, peak_at(0.3))
    made.plan.keep(tmp_path)
    found = findings.find(made, "login", {})
    report.write(found, made.plan, tmp_path / "report")
    winner = winner_of(config, found, made.plan)
    assert winner.tracking.uri == uri and winner.method.temperature == found.best.changes["method.temperature"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"correct-horse" in path.read_bytes()]


def test_the_json_reads_back_and_the_winner_is_a_recipe(found, played, tmp_path):
    report.write(found, played.plan, tmp_path)
    assert Findings.model_validate_json((tmp_path / report.JSON).read_text()) == found
    assert json.loads((tmp_path / report.JSON).read_text())["winner"] == found.winner
    winner = parse(yaml.safe_load((tmp_path / report.WINNER).read_text()))
    assert winner.method.temperature == found.best.changes["method.temperature"] and winner.tune is None
