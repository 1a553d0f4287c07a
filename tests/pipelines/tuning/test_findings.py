"""What a campaign says of itself: verdict, ranks, cost, and a page that needs nothing else."""

import json
import re
from html import escape

import pytest
import yaml

from pipelines.config.parse import parse
from pipelines.tuning.confirm import plan_confirmation
from pipelines.tuning.outcome import figures, findings, report
from pipelines.tuning.outcome.findings import Findings
from pipelines.tuning.tune import winner_of
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
    found = findings.find(made, "luck", {})
    assert "not better than the recipe beyond the noise" in found.verdict
    assert f"trial {found.winner} becomes a candidate all the same: nothing here shows" in found.advice[0]
    assert escape(found.advice[0]) in report.html(found, {})


def confirmed(tmp_path, scores, top_k=2, seeds=3) -> Findings:
    """A campaign whose fresh seeds 1, 2, 3 score `scores[rank]`; rank None is the recipe's own config, 0 the best."""
    made = campaign(tmp_path, recipe(num_trials=6, confirm={"top_k": top_k, "seeds": seeds}))
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


@pytest.mark.parametrize(
    ("top_k", "ours", "said"),
    [
        (1, (0.54, 0.56, 0.58), "not better than the recipe beyond the noise (+0.040, 95 % interval -0.005 to +0.085"),
        (1, (0.55, 0.57, 0.59), "better than the recipe beyond the noise (+0.050, 95 % interval +0.005 to +0.095"),
        (2, (0.55, 0.57, 0.59), "not better than the recipe beyond the noise (+0.050, 97.5 % interval -0.007 to"),
        (2, (0.56, 0.58, 0.60), "better than the recipe beyond the noise (+0.060, 97.5 % interval +0.003 to"),
    ],
)
def test_two_standard_errors_are_not_beyond_the_noise_and_of_two_the_best_has_to_be_better_still(
    top_k, ours, said, tmp_path
):
    found = confirmed(tmp_path, {None: (0.50, 0.52, 0.54), 0: ours, 1: (0.3, 0.31, 0.3)}, top_k)
    assert found.verdict.startswith(said) and "over seeds, on this held-out slice): trial" in found.verdict
    assert len(found.advice) == (not found.verdict.startswith("better"))


def test_seeds_that_do_not_differ_tell_nothing(tmp_path):
    found = confirmed(tmp_path, {None: (0.5,) * 3, 0: (0.6,) * 3, 1: (0.4, 0.41, 0.4)})
    assert found.verdict.startswith("cannot tell whether it beats the recipe: no seed differs from another; trial ")


def test_two_seeds_are_said_to_show_hardly_anything(tmp_path):
    found = confirmed(tmp_path, {None: (0.50, 0.52), 0: (0.55, 0.57), 1: (0.3, 0.31)}, top_k=1, seeds=2)
    assert found.verdict.startswith("not better than the recipe beyond the noise (+0.050")
    assert "tune.confirm.seeds 2: only a gain of more than 4.3 times the spread over seeds" in found.advice[-1]


def test_a_best_that_is_the_recipe_itself_is_said_to_be(tmp_path):
    own = {"method.temperature": {"choice": [0.5, 0.9]}}
    made = campaign(tmp_path, recipe(space=own, num_trials=2, scheduler="none"))
    play(made, made.next_search, peak_at(0.5))
    plan_confirmation(made)
    play(made, made.next_confirmation, peak_at(0.5))
    found = findings.find(made, "own", {})
    assert found.verdict.startswith(f"the best is the recipe itself (trial {found.winner}): knn_top1 0.8")
    assert found.winner == found.itself == made.itself() and len(found.confirmation.values) == 3
    assert found.best.changes == {"method.temperature": 0.5} and len(found.confirmed) == 2


def test_the_winner_is_drawn_where_fresh_seeds_put_it(tmp_path):
    found = confirmed(tmp_path, {None: (0.1, 0.12, 0.14), 0: (0.2, 0.22, 0.24), 1: (0.1, 0.11, 0.1)})
    axes = figures._scatter(found).axes[0]
    (star,) = [each for each in axes.collections if each.get_label() == "winner, mean of fresh seeds"]
    assert star.get_offsets()[0][1] == pytest.approx(0.22) and found.best.value("knn_top1") > 0.5


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


def test_a_rank_correlation_that_may_be_chance_is_no_advice(tmp_path):
    made = campaign(tmp_path, recipe(num_trials=8, scheduler="none", searcher="random", confirm={"seeds": 0}))

    def curve(trial, share):
        knn, rank = trial.number, (3, 5, 0, 7, 1, 6, 2, 4)[trial.number]  # of eight, +-0.74 is chance
        return {"knn_top1": knn / 10, "rankme": 2.0 + rank, "lidar": 20.0 - knn, "feature_std": 0.5}

    play(made, made.next_search, curve)
    plan_confirmation(made)
    found = findings.find(made, "chance", {})
    held = {a.metric: a for a in found.agreements}
    assert abs(held["rankme"].spearman) < 0.2 and held["lidar"].spearman == -1 and held["lidar"].share == 1
    assert [line for line in found.advice if "lidar ranked these trials backwards" in line]
    (unsure,) = [line for line in found.advice if line.startswith("too few trials to say")]
    assert "rankme" in unsure and "lidar" not in unsure
    assert "Spearman over 8 trials" in report.html(found, {}) and "(100% of a training); within +-0.74 it may be" in (
        report.html(found, {})
    )


def test_the_saving_is_what_the_stopped_trials_did_not_train_at_the_pace_between_their_looks(tmp_path):
    made = campaign(tmp_path, recipe(num_trials=16, confirm={"seeds": 0}))
    play(made, made.next_search, peak_at(0.3), start_s=30)
    plan_confirmation(made)
    found, search = findings.find(made, "cost", {}), made.of("search")
    assert {len(t.looks) for t in search if t.state == "stopped"} == {1, 3}
    assert found.cost.spent == pytest.approx(sum(30 + t.step / 10 for t in search))
    assert found.cost.in_full == pytest.approx(39.0 * len(search)), "a start is paid once, however far a trial comes"
    assert "are estimated at 624" in report.cost_line(found)
    assert sum(rung.stopped for rung in found.rungs) == sum(t.state == "stopped" for t in search)


def test_trials_that_collapsed_were_not_trained_in_full(tmp_path):
    for name, std in (("whole", 0.5), ("collapsed", 0.0)):
        made = campaign(tmp_path / name, recipe(num_trials=3, scheduler="none", confirm={"seeds": 0}))
        curve = lambda t, _, std=std: {"knn_top1": 0.5, "feature_std": std if t.number == 1 else 0.5}  # noqa: E731
        play(made, made.next_search, curve)
        plan_confirmation(made)
        said = "every one was trained in full" in report.html(findings.find(made, name, {}), {})
        assert said is (name == "whole")


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
