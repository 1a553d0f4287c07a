"""Suggestions and stops are pure functions of the records; a campaign that is opened again decides the same."""

import json
import resource
import shutil

import pytest

from pipelines.errors import UserError
from pipelines.storage import outbox
from pipelines.tuning import halving, plan, records
from pipelines.tuning.confirm import plan_confirmation
from pipelines.tuning.plan import milestones
from pipelines.tuning.records import Look
from pipelines.tuning.search import num_planned, suggest
from pipelines.tuning.trials.worker import looks
from tests.support.campaigns import SPACE, campaign, peak_at, play, recipe

TEMPERATURE = SPACE["method.temperature"]
FINITE = {"method.temperature": {"choice": [0.1, 0.2, 0.5]}, "optim.lr": {"choice": [0.001, 0.003, 0.01]}}


def test_rungs_lie_at_looks_and_leave_something_to_save():
    assert halving.rungs(9, 0.1, 3) == (1, 3)
    assert halving.rungs(6, 1 / 6, 2) == (1, 2, 4)
    assert halving.rungs(3, 0.9, 2) == ()


@pytest.mark.parametrize(
    ("score", "others", "stays"),
    [
        (0.1, [], True),
        (0.1, [0.2], False),
        (0.2, [0.2], True),
        (0.5, [0.6, 0.7, 0.1], False),
        (0.65, [0.6, 0.7, 0.1], True),
        (float("nan"), [], False),
        (float("-inf"), [0.1], False),
    ],
)
def test_the_best_third_goes_on(score, others, stays):
    assert halving.goes_on(score, others, 3) is stays


def test_looks_end_with_the_training():
    assert milestones(90, 9) == tuple(range(10, 91, 10))
    assert milestones(100, 3) == (33, 67, 100)
    with pytest.raises(UserError, match=r"tune.looks: a trial of 5 steps cannot be looked at 9 times"):
        milestones(5, 9)


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_suggestions_are_functions_of_the_records(searcher, tmp_path):
    config = recipe(searcher=searcher, num_trials=12)
    first = campaign(tmp_path / "a", config)
    play(first, first.next_search, peak_at(0.3))
    again = campaign(tmp_path / "b", config)
    play(again, again.next_search, peak_at(0.3))
    tried = [trial.changes for trial in first.trials]
    assert tried == [trial.changes for trial in again.trials]
    assert len({json.dumps(changes) for changes in tried}) == 12
    assert all(suggest(config.tune, 0, first.trials[:n], first.identity) == tried[n] for n in (0, 5, 11))
    assert suggest(config.tune, 1, [], first.identity) != tried[0]


def test_optuna_comes_back_to_where_the_peak_is(tmp_path):
    near = {}
    for searcher in ("random", "optuna"):
        config = recipe(num_trials=24, scheduler="none", searcher=searcher, space={"method.temperature": TEMPERATURE})
        made = campaign(tmp_path / searcher, config)
        play(made, made.next_search, peak_at(0.2))
        near[searcher] = sum(abs(t.changes["method.temperature"] - 0.2) < 0.05 for t in made.trials[12:])
    assert near["optuna"] > 2 * near["random"]


@pytest.mark.parametrize("searcher", ["random", "optuna", "grid"])
def test_a_finite_space_is_tried_whole_and_once(searcher, tmp_path):
    config = recipe(space=FINITE, searcher=searcher, num_trials=40)
    assert num_planned(config.tune) == 9
    made = campaign(tmp_path, config)
    play(made, made.next_search, peak_at(0.2), at_a_time=3)
    assert len({json.dumps(trial.changes) for trial in made.trials}) == len(made.trials) == 9


def test_a_grid_that_is_cut_is_tried_all_over_and_goes_on_where_it_was_cut(tmp_path):
    square = {key: {"choice": [v / 100 for v in range(1, 7)]} for key in ("method.temperature", "optim.lr")}
    made = campaign(tmp_path, recipe(space=square, searcher="grid", num_trials=12))
    play(made, made.next_search, peak_at(0.2))
    for key in square:
        assert len({trial.changes[key] for trial in made.trials}) >= 5, "in order it would have been two of the first"
    more = campaign(tmp_path, recipe(space=square, searcher="grid", num_trials=40))
    play(more, more.next_search, peak_at(0.2))
    assert more.trials[:12] == made.trials and len({json.dumps(t.changes) for t in more.trials}) == 36


def test_one_config_under_two_names_is_one_trial(tmp_path):
    twice = {"method.temperature": {"choice": [1, 1.0, 0.2]}, "optim.lr": {"choice": [0.01, 0.003]}}
    for searcher in ("grid", "random", "optuna"):
        made = campaign(tmp_path / searcher, recipe(space=twice, searcher=searcher, num_trials=6))
        play(made, made.next_search, peak_at(0.3), at_a_time=2)
        assert len(made.trials) == len({trial.work for trial in made.trials}) == made.num_planned == 4
        again = campaign(tmp_path / searcher, recipe(space=twice, searcher=searcher, num_trials=6))
        assert again.next_search() is None and again.trials == made.trials


def test_a_best_that_is_the_recipe_itself_is_confirmed_by_the_recipes_own_runs(tmp_path):
    own = {"method.temperature": {"choice": [0.5, 0.9]}, "optim.lr": {"choice": [0.01, 0.02]}}  # 0.5, 0.01: as written
    made = campaign(tmp_path, recipe(space=own, num_trials=4, scheduler="none", confirm={"top_k": 2, "seeds": 2}))
    play(made, made.next_search, lambda t, _: {"knn_top1": 1 - t.changes["method.temperature"], "feature_std": 0.5})
    for _ in range(2):
        plan_confirmation(made)
    running = [made.next_confirmation(), made.next_confirmation(), made.next_confirmation(), made.next_confirmation()]
    assert len({trial.work for trial in running}) == 4 and made.next_confirmation() is None
    best, other = made.ranked()[:2]
    assert made.itself() in (best.number, other.number)
    second = other.number if made.itself() == best.number else best.number
    assert [trial.of for trial in running] == [None, second, None, second]


def test_a_damaged_record_is_named_and_a_deleted_one_takes_no_other_with_it(tmp_path):
    made = campaign(tmp_path)
    play(made, made.next_search, peak_at(0.3))
    damaged = tmp_path / "trials" / made.trials[3].folder_name / records.NAME
    damaged.write_text(damaged.read_text()[:50])
    with pytest.raises(UserError, match=rf"{damaged}: not the record of a trial \(Invalid JSON.*put back a copy"):
        campaign(tmp_path)
    shutil.rmtree(damaged.parent)
    again = campaign(tmp_path)
    play(again, again.next_search, peak_at(0.3))
    assert [t for t in again.trials if t.number < 9] == [t for t in made.trials if t.number != 3]
    assert [trial.number for trial in again.trials][-1] == 9


def test_stopped_trials_come_back_stopped_and_nothing_runs_twice(tmp_path):
    made = campaign(tmp_path)
    play(made, made.next_search, peak_at(0.3))
    states = [trial.state for trial in made.trials]
    assert {"done", "stopped"} == set(states)
    assert all("others were better at step" in trial.reason for trial in made.trials if trial.state == "stopped")
    again = campaign(tmp_path)
    assert again.next_search() is None and again.trials == made.trials


def test_what_a_killed_driver_left_open_comes_first_and_knows_its_looks(tmp_path):
    killed = campaign(tmp_path)
    one, two = killed.next_search(), killed.next_search()
    assert one and two
    killed.looked(one.number, Look(step=10, values=peak_at(0.3)(one, 1 / 9), seconds=1))
    again = campaign(tmp_path)
    assert [again.next_search().number, again.next_search().number, again.next_search().number] == [0, 1, 2]
    before = again.trials[0]
    again.looked(0, Look(step=10, values={"knn_top1": 0.0, "feature_std": 0.0}, seconds=9))  # the trial says it again
    assert again.trials[0] == before


def test_what_a_rerun_may_cure_waits_again_and_the_rest_stays_failed(tmp_path):
    made = campaign(tmp_path)
    one, two = made.next_search(), made.next_search()
    made.looked(one.number, Look(step=10, values=peak_at(0.3)(one, 1 / 9), seconds=1))
    made.failed(one.number, "the storage is full", curable=True)
    made.failed(two.number, "the loss is not finite")
    assert made.next_search().number == 2, "not in the process that saw it fail"
    again = campaign(tmp_path)
    assert [trial.state for trial in again.trials] == ["waiting", "failed", "running"]
    first = again.next_search()
    assert (first.number, first.reason, first.curable) == (0, "", False) and len(first.looks) == 1
    assert [again.next_search().number, again.next_search().number] == [2, 3]
    again.failed(0, "another cause")
    assert campaign(tmp_path).trials[0].state == "failed"


def test_a_record_that_cannot_be_written_is_the_campaigns_fault(tmp_path):
    made = campaign(tmp_path)
    trial = made.next_search()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # as a full disk: larger files cannot be written
    try:
        with pytest.raises(UserError, match=r"cannot write the record of trial 0 \(File too large\); free space"):
            made.looked(trial.number, Look(step=10, values=peak_at(0.3)(trial, 1 / 9), seconds=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert made.fault is not None
    assert campaign(tmp_path).trials == made.trials == [trial], "the record on disk is the last whole one"


def test_a_decision_is_on_disk_before_anybody_hears_of_it(tmp_path):
    seen = []
    made = campaign(tmp_path, listeners=[lambda t: seen.append(records.read(tmp_path / "trials" / t.folder_name) == t)])
    play(made, made.next_search, peak_at(0.3))
    assert seen and all(seen)


@pytest.mark.parametrize(("gauge", "value"), [("feature_std", 0.001), ("rankme", 1.1)])
def test_collapse_ends_a_trial_at_once(gauge, value, tmp_path):
    made = campaign(tmp_path)
    trial = made.next_search()
    assert trial
    made.looked(
        trial.number, Look(step=10, values={"knn_top1": 0.9, "feature_std": 0.5, "rankme": 9, gauge: value}, seconds=1)
    )
    assert made.trials[0].state == "collapsed"
    assert (
        made.trials[0].reason
        == f"{gauge} {value:.3g} at step 10 is under tune.min_{gauge} {0.01 if 'std' in gauge else 1.5:g}"
    )


def test_values_that_do_not_fit_together_fail_their_trial_only(tmp_path):
    space = {"train.global_batch_size": {"choice": [16, 15]}, "train.accumulate": {"choice": [1, 2]}}
    made = campaign(tmp_path, recipe(space=space, searcher="grid", num_trials=4))
    play(made, made.next_search, peak_at(0.3))
    (failed,) = [trial for trial in made.trials if trial.state == "failed"]
    assert failed.changes == {"train.global_batch_size": 15, "train.accumulate": 2}
    assert "does not split over" in failed.reason


def test_a_trial_that_nothing_ranks_fails_and_the_next_is_suggested_all_the_same(tmp_path):
    config = recipe(metric="alpha_req", num_trials=8, scheduler="none")

    def curve(trial, share):
        gone = trial.number == 6 or (trial.number % 2 and share > 0.5)  # its spectrum ends, or never was one
        return {"feature_std": 0.5} if gone else {"feature_std": 0.5, "alpha_req": 1 + share}

    made = campaign(tmp_path, config)
    play(made, made.next_search, curve)
    assert [trial.state for trial in made.trials] == ["done", "failed"] * 3 + ["failed"] * 2
    assert made.trials[1].reason == "alpha_req could not be had at step 90, its last; nothing ranks it"
    assert {trial.number for trial in made.ranked()} == {0, 2, 4}
    assert campaign(tmp_path, config).next_search() is None


def test_the_loss_of_a_training_that_was_there_before_ranks_its_trial(tmp_path):
    made = campaign(tmp_path, recipe(metric="loss"))
    outbox.append(tmp_path, step=90, total=90, metrics={"loss": 2.5, "epoch": 3}, final=True)  # by `selfray run`
    look = {made.plan.prefix + "seconds": 7.0, made.plan.prefix + "rankme": 4.0}
    outbox.append(tmp_path, step=90, total=90, metrics=look)
    seen = Look(step=90, values={"rankme": 4.0, "loss": 2.5}, seconds=7)
    assert looks(tmp_path, made.plan, 90) == [seen]
    assert looks(tmp_path, made.plan, 90, saved=True) == [], "no checkpoint covers it yet"
    outbox.commit(tmp_path, 90)
    assert looks(tmp_path, made.plan, 90, saved=True) == [seen]


def test_all_failing_gives_the_first_reason(tmp_path):
    made = campaign(tmp_path, recipe(num_trials=3))
    while (trial := made.next_search()) is not None:
        made.failed(trial.number, f"reason {trial.number}")
    with pytest.raises(UserError, match="no trial came to its end; 3 failed; trial 0 failed: reason 0"):
        plan_confirmation(made)


def test_the_confirmation_runs_the_best_and_the_recipe_on_fresh_seeds_once(tmp_path):
    made = campaign(tmp_path)
    play(made, made.next_search, peak_at(0.3))
    best = made.ranked()[:2]
    for _ in range(2):  # the second time it finds what it planned the first time
        plan_confirmation(made)
    planned = made.of("confirm", "default")
    assert len(planned) == 9 and {trial.changes["seed"] for trial in planned} == {1, 2, 3}
    assert {trial.of for trial in planned} == {None, best[0].number, best[1].number}
    play(made, made.next_confirmation, peak_at(0.9))
    assert all(trial.state == "done" for trial in made.of("confirm", "default")), "nothing of it is stopped early"


def test_more_trials_extend_a_campaign_other_ranges_begin_another(tmp_path):
    folder = plan.folder(recipe(), "data", tmp_path)
    assert plan.folder(recipe(num_trials=50, max_concurrent=2), "data", tmp_path) == folder
    assert plan.folder(recipe(metric="rankme"), "data", tmp_path) != folder
    assert plan.folder(recipe(), "other data", tmp_path) != folder
    made = campaign(tmp_path, recipe(num_trials=4))
    play(made, made.next_search, peak_at(0.3))
    more = campaign(tmp_path, recipe(num_trials=6))
    play(more, more.next_search, peak_at(0.3))
    assert more.trials[:4] == made.trials and len(more.trials) == 6


def test_trials_of_other_shards_are_not_gone_on_with(tmp_path):
    made = campaign(tmp_path)
    made.plan.keep(tmp_path)
    made.plan.keep(tmp_path)
    other = made.plan.model_copy(update={"shards": made.plan.shards.model_copy(update={"digest": "other"})})
    with pytest.raises(UserError, match="its trials were trained on other shards; move it away"):
        other.keep(tmp_path)
    assert plan.load(tmp_path) == made.plan and other.prefix != made.plan.prefix


def test_looks_in_other_views_have_another_name(tmp_path):
    one = campaign(tmp_path).plan
    views = {**one.recipe["views"], "global": {**one.recipe["views"]["global"], "crop_min": 0.9}}
    assert one.model_copy(update={"recipe": {**one.recipe, "views": views}}).prefix != one.prefix
