"""What fits into a time, from fixed timings; no Ray."""

import pytest

from pipelines.cli.budget import check_changes
from pipelines.config.parse import parse
from pipelines.errors import UserError
from pipelines.train.plan import budget, forecast
from pipelines.train.plan.forecast import START_S, Rehearsed
from tests.support.recipe import TREE


def timed(step_s: float, look_s: float = 0.0, save_s: float = 0.0) -> Rehearsed:
    return Rehearsed(step_s, 0.0, look_s, save_s, 0, 0, 0, 0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("2h", 7200), ("1h30m", 5400), (" 5M ", 300)]
)
def test_durations(text, seconds):
    assert budget.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "0m", "-5m", "5 minutes", "m", "1.5h", "s90"])
def test_what_is_no_duration(text):
    with pytest.raises(UserError, match="write a time such as 90s, 20m, 2h or 1h30m"):
        budget.duration(text)


@pytest.mark.parametrize("available", [0.0, 0.09, 0.11, 10.0, 59.9, 61.0, 3600.0])
@pytest.mark.parametrize("rehearsed", [timed(0.1), timed(0.1, look_s=0.5, save_s=2.0)])
def test_the_steps_that_fit_do_and_one_more_does_not(available, rehearsed):
    config = parse(TREE, {"train.monitor_samples": 64})
    steps = budget.steps_within(config, rehearsed, available)
    took = [forecast.seconds(config, rehearsed, each) for each in (steps, steps + 1)]
    assert (steps == 0 or took[0] <= available) and took[1] > available


def test_what_is_no_training():
    config = parse(TREE)  # batches of 16
    assert budget.around(config, timed(0.1), 1600, 30) == pytest.approx(30 + START_S + budget.EVALUATE_S + 10)


WIDTHS = (8, 16, 32, 64)


@pytest.mark.parametrize(
    ("fitting", "following"),
    [
        ({16: 1000}, 32),
        ({16: 1000, 32: 600}, 64),
        ({16: 1000, 32: 140}, None),  # enough, and no room for more
        ({16: 1000, 32: 600, 64: 500}, None),
        ({16: 120}, None),
        ({16: 90}, 8),
        ({16: 90, 8: 95}, None),
        ({16: 1000, 32: 50}, None),
    ],
)
def test_which_width_is_rehearsed_next(fitting, following):
    assert budget.next_width(WIDTHS, fitting, wanted=100, rehearsal_s=20, left_s=600) == following
    assert budget.next_width(WIDTHS, fitting, wanted=100, rehearsal_s=200, left_s=600) is None


@pytest.mark.parametrize(
    ("fitting", "choice"),
    [
        ({16: 700, 32: 140}, (32, 140)),
        ({16: 700, 32: 50}, (16, 700)),
        ({16: 90, 8: 95}, (8, 95)),
        ({16: 9000}, (16, 100 * budget.LONGEST)),
    ],
)
def test_the_widest_encoder_that_trains_as_long_as_the_recipe(fitting, choice):
    assert budget.choose(fitting, wanted=100) == choice


def test_a_budget_that_is_too_short_says_what_would_do():
    config = parse(TREE)
    budget.check(config, timed(0.1), steps=100, fewest=100, budget_s=60, around_s=50)
    with pytest.raises(UserError) as caught:
        budget.check(config, timed(0.6), steps=12, fewest=100, budget_s=60, around_s=50)
    assert str(caught.value) == (
        "--budget: 1m00s is too short: 100 steps take 1m00s here, ingest, rehearsal, start and evaluation 50s; give "
        "3m or more"
    )


def test_a_budget_and_steps_exclude_each_other():
    check_changes({"optim.lr": 0.1})
    with pytest.raises(UserError, match=r"--set train\.epochs: --budget chooses the steps"):
        check_changes({"train.epochs": 3})
