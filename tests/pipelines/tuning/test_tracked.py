"""A campaign in MLflow, on a real server that may be killed: runs, links, few requests, nothing lost."""

import re

import pytest

from pipelines import tracking
from pipelines.mlflow_store import connect
from pipelines.tuning import findings, report
from pipelines.tuning.confirm import plan_confirmation
from pipelines.tuning.records import Trial
from pipelines.tuning.tracking import TrialRuns, finish
from tests.support.campaigns import campaign, peak_at, play, recipe

pytestmark = pytest.mark.timeout(600)
REQUEST = re.compile(r'"(GET|POST|PATCH) /api/2.0/mlflow/(\S+) HTTP')


def runs(config, key):
    client = connect(config.tracking.uri)
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    found = client.search_runs([experiment.experiment_id], max_results=500)
    (parent,) = [run for run in found if run.data.tags.get("selfray.campaign") == key]
    return parent, [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]


@pytest.fixture
def config(mlflow_server, request):
    settings = {"uri": mlflow_server.uri, "experiment": request.node.name}
    return recipe(num_trials=6).model_copy(update={"tracking": recipe().tracking.model_copy(update=settings)})


def test_parent_children_and_no_more_requests_than_looks_and_four(config, mlflow_server, tmp_path):
    with tracking.run(config, tmp_path, campaign="parent-and-children"):
        before = len(REQUEST.findall(mlflow_server.log.read_text()))
        trial_runs = TrialRuns(tmp_path)
        made = campaign(tmp_path, config, [trial_runs])
        play(made, made.next_search, peak_at(0.3))
        plan_confirmation(made)
        play(made, made.next_confirmation, peak_at(0.3))
        trial_runs.close(made.trials)
        sent = [path for _, path in REQUEST.findall(mlflow_server.log.read_text())[before:]]
        found = findings.find(made, "tracked", {})
        finish(found, report.write(found, made.plan, tmp_path / "report").parent)
    num_looks = sum(len(trial.looks) for trial in made.trials)
    batches = sent.count("runs/log-batch")  # params once, metrics: looks that come close together go together
    assert len(made.trials) < batches <= len(made.trials) + num_looks
    assert len(sent) - batches <= 3 * len(made.trials), "with the params four, besides one per look"
    parent, children = runs(config, "parent-and-children")
    assert parent.info.status == "FINISHED" and parent.data.metrics["best/knn_top1"] > 0.5
    assert parent.data.tags["selfray.verdict"] == found.verdict
    assert len(children) == len(made.trials) == 15
    by_number = {int(run.data.params["trial"]): run for run in children}
    for trial in made.trials:
        run = by_number[trial.number]
        assert run.info.status == "FINISHED" and run.data.tags["selfray.state"].startswith(trial.state)
        assert run.data.metrics["knn_top1"] == trial.value("knn_top1")
        assert {k: str(v) for k, v in trial.changes.items()}.items() <= run.data.params.items()


def test_a_trial_that_is_tried_again_ends_its_run_again(config, tmp_path):
    for reason in ("the storage is full", "it is full again"):
        with tracking.run(config, tmp_path, campaign="again"):
            trial_runs = TrialRuns(tmp_path)
            made = campaign(tmp_path, config, [trial_runs])
            trial = made.next_search()
            made.failed(trial.number, reason, curable=True)
            trial_runs.close(made.trials)
    _, (run,) = runs(config, "again")
    assert run.info.status == "FAILED" and run.data.tags["selfray.state"] == "failed: it is full again"


def test_a_server_that_dies_in_the_middle_loses_nothing_and_the_next_process_ships_it(config, mlflow_server, tmp_path):
    died: list[int] = []

    def curve(trial: Trial, share: float) -> dict[str, float]:
        if trial.number == 2 and not died:
            mlflow_server.kill()
            died.append(trial.number)
        return peak_at(0.3)(trial, share)

    with tracking.run(config, tmp_path, campaign="outage"):
        trial_runs = TrialRuns(tmp_path)
        made = campaign(tmp_path, config, [trial_runs])
        play(made, made.next_search, curve)
        trial_runs.close(made.trials)
    assert died and all(trial.state in ("done", "stopped") for trial in made.trials)
    mlflow_server.start()
    with tracking.run(config, tmp_path, campaign="outage"):
        trial_runs = TrialRuns(tmp_path)
        again = campaign(tmp_path, config, [trial_runs])
        assert again.next_search() is None
        trial_runs.close(again.trials)
    parent, children = runs(config, "outage")
    assert parent.info.status == "FINISHED" and len(children) == 6
    client = connect(config.tracking.uri)
    for run in children:
        trial = made.trials[int(run.data.params["trial"])]
        history = client.get_metric_history(run.info.run_id, "knn_top1")
        assert sorted(point.step for point in history) == [look.step for look in trial.looks]
        assert run.info.status == "FINISHED"
