"""Tasks of an evaluation: one file each, listed by name or given as keys of their own."""

from typing import Any

import pytest

from pipelines.config.chosen import chosen
from pipelines.config.evaluate import TASKS, EvaluateConfig, allowed_tasks, check_tasks, listed_tasks
from pipelines.config.parse import load_keys, parse
from pipelines.errors import UserError
from pipelines.evaluate.evaluate import EVALUATE
from pipelines.evaluate.tasks.base import EvaluationTask
from ssl_core.augment.image_eval import ImageEval
from ssl_core.augment.series_eval import SeriesEval
from ssl_core.catalog import find, names, summary
from ssl_core.measures.measure import UNKNOWN, measure_of
from tests.support.recipe import TREE

SERIES: dict[str, Any] = {
    "source": {"name": "series_csv", "path": "series"},
    "views": {
        "global": {"name": "series_crop", "length": 32, "channels": 2},
        "eval": {"name": "series_eval", "length": 32, "channels": 2},
    },
    "encoder": {"name": "series_conv", "width": 8, "depth": 3},
}


def mistake(tree: dict[str, Any], changes: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        parse(tree, changes)
    (line,) = str(caught.value).splitlines()[1:]
    return line.strip()


@pytest.mark.parametrize("name", names(TASKS))
def test_each_says_what_it_is(name: str) -> None:
    component = find(TASKS, name)
    task = component(component.Config())
    assert isinstance(task, EvaluationTask) and task.config.name == name and summary(TASKS, name)
    assert task.protocol.startswith(f"{name} v") and "\n" not in task.protocol
    assert measure_of(task.score) != UNKNOWN, "say in ssl_core/measures/measure.py what the score means"


def test_a_list_of_tasks_and_their_short_forms_ask_for_the_same() -> None:
    listed = [{"name": "robustness", "severities": [1]}, {"name": "fine_tune", "epochs": 3}]
    short = {"evaluate.robustness": {"severities": [1]}, "evaluate.fine_tune": {"epochs": 3}}
    by_list, by_key = parse(TREE, {"evaluate.tasks": listed}).evaluate, parse(TREE, short).evaluate
    assert [task for _, task in listed_tasks(by_list)] == [task for _, task in listed_tasks(by_key)]
    assert [key for key, _ in listed_tasks(by_list)] == ["evaluate.tasks.0", "evaluate.tasks.1"]
    assert [key for key, _ in listed_tasks(by_key)] == ["evaluate.robustness", "evaluate.fine_tune"]
    parse(TREE, {"evaluate.tasks": listed, "evaluate.headline": "robust_top1"})


def test_without_tasks_the_stage_is_what_it_was() -> None:
    assert "tasks" not in chosen(parse(TREE, {"evaluate.suite": "full"}))["evaluate"]
    assert EVALUATE.deciding(parse(TREE, {"evaluate.tasks": []})) == EVALUATE.deciding(parse(TREE))


def test_the_full_suite_leaves_a_listed_task_as_it_is() -> None:
    config = EvaluateConfig.model_validate({"suite": "full", "tasks": [{"name": "robustness", "severities": [2]}]})
    assert config.robustness is None and len(listed_tasks(config)) == 1


def test_mistakes_are_one_line_each() -> None:
    twice = {"evaluate.robustness": {}, "evaluate.tasks": [{"name": "robustness"}]}
    assert mistake(TREE, twice) == "evaluate: tasks: robustness is asked for twice; give it once"
    assert "did you mean 'robustness'?" in mistake(TREE, {"evaluate.tasks": [{"name": "robustnes"}]})
    unknown = {"evaluate.tasks": [{"name": "robustness", "severity": [1]}]}
    assert mistake(TREE, unknown) == "evaluate.tasks.0.severity: unknown key; did you mean 'severities'?"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluate.robustness": {}}, "evaluate.robustness: corruptions are of images; the views are channel x time"),
        (
            {"evaluate.tasks": [{"name": "fine_tune"}]},
            "evaluate.tasks.0: without `view` it trains on image_crop, and the views are channel x time; give view",
        ),
    ],
)
def test_a_task_that_these_views_do_not_allow_is_refused(changes: dict[str, Any], words: str) -> None:
    assert mistake({**TREE, **SERIES}, changes) == words


def test_a_task_of_series_is_one_with_a_view_of_series() -> None:
    view = {"name": "series_crop", "length": 32, "channels": 2}
    parse({**TREE, **SERIES}, {"evaluate.tasks": [{"name": "fine_tune", "view": view}]})


def test_keys_of_tasks_are_checked_without_torch() -> None:
    config = load_keys("digits", {"evaluate.tasks": [{"name": "robustness", "severities": [3]}]})
    assert config.evaluate.tasks[0].model_dump()["severities"] == (3,)


def test_the_full_suite_leaves_out_what_series_do_not_allow() -> None:
    config = EvaluateConfig.model_validate({"suite": "full"})
    series, images = SeriesEval(SeriesEval.Config(length=64)), ImageEval(ImageEval.Config(size=8))
    check_tasks(config, series)
    assert [task.name for task in allowed_tasks(config, images)] == ["robustness"]
    assert allowed_tasks(config, series) == []
