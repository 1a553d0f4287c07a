"""A campaign in MLflow, on a real server that may be killed: runs, links, few requests, nothing lost."""

import re
import time
from collections import Counter
from pathlib import Path

import pytest

from pipelines.registry.artifact import ModelVersion
from pipelines.storage import outbox
from pipelines.tracking import runs as tracking
from pipelines.tracking import shipping
from pipelines.tracking.server import connect
from pipelines.tuning.confirm import plan_confirmation
from pipelines.tuning.outcome import findings, report
from pipelines.tuning.records import OPEN, Look, Trial
from pipelines.tuning.trials.runs import PATIENCE_S, TrialRuns, finish, link
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


def arrived(folder: Path):
    """A listener that waits until what a trial has logged is on the server, so that no two looks go together."""

    def wait(trial: Trial) -> None:
        mine, deadline = folder / "trials" / trial.folder_name, time.monotonic() + 60
        while trial.state in OPEN and trial.looks:
            state = shipping.state(mine)
            if state and not outbox.committed(mine, state.offset):
                return
            assert time.monotonic() < deadline, f"nothing of trial {trial.number} arrives"
            time.sleep(0.01)

    return wait


def requests(server, since: int = 0) -> list[str]:
    return [path for _, path in REQUEST.findall(server.log.read_text())[since:]]


def test_parent_children_and_one_request_per_look_and_four_more(config, mlflow_server, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "PERIOD_S", 0.01)  # each look by itself, and soon
    with tracking.run(config, tmp_path, campaign="parent-and-children"):
        before = len(requests(mlflow_server))
        trial_runs = TrialRuns(tmp_path)
        made = campaign(tmp_path, config, [trial_runs, arrived(tmp_path)])
        play(made, made.next_search, peak_at(0.3))
        plan_confirmation(made)
        play(made, made.next_confirmation, peak_at(0.3))
        trial_runs.close(made.trials)
        sent = Counter(requests(mlflow_server, before))
        found = findings.find(made, "tracked", {})
        finish(found, report.write(found, made.plan, tmp_path / "report").parent)
    num_looks = sum(len(trial.looks) for trial in made.trials)
    assert sent.pop("runs/log-batch") == num_looks + len(made.trials), "one per look, and one for the params"
    assert sent.total() == 3 * len(made.trials), sent
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


def test_a_trial_that_is_gone_on_with_takes_four_requests_beside_its_looks_too(
    config, mlflow_server, tmp_path, monkeypatch
):
    monkeypatch.setattr(shipping, "PERIOD_S", 0.01)
    sent, looks = [], []
    for until in (30, 90):
        with tracking.run(config, tmp_path, campaign="gone-on-with"):
            before = len(requests(mlflow_server))
            trial_runs = TrialRuns(tmp_path)
            made = campaign(tmp_path, config, [trial_runs, arrived(tmp_path)])
            trial = made.next_search()
            for step in range(trial.step + 10, until + 1, 10):
                made.looked(trial.number, Look(step=step, values={"knn_top1": 0.5, "feature_std": 0.5}, seconds=step))
            trial_runs.close(made.trials)  # the first time as after Ctrl-C
            sent.append(Counter(requests(mlflow_server, before)))
            looks.append(len(made.trials[0].looks))
    assert looks == [3, 9] and made.trials[0].state == "done"
    assert sent[0].total() == 3 + 4 and sent[1].total() <= 6 + 4, sent
    _, (run,) = runs(config, "gone-on-with")
    history = connect(config.tracking.uri).get_metric_history(run.info.run_id, "knn_top1")
    assert [point.step for point in history] == list(range(10, 91, 10)) and run.info.status == "FINISHED"


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


def test_a_run_that_somebody_deleted_is_made_anew(config, tmp_path):
    client, seen = connect(config.tracking.uri), []
    for step in (10, 20):
        with tracking.run(config, tmp_path, campaign="deleted"):
            trial_runs = TrialRuns(tmp_path)
            made = campaign(tmp_path, config, [trial_runs])
            look = Look(step=step, values={"knn_top1": 0.5, "feature_std": 0.5}, seconds=step)
            made.looked(made.next_search().number, look)
            trial_runs.close(made.trials)
        _, (run,) = runs(config, "deleted")
        seen.append(run.info.run_id)
        client.delete_run(run.info.run_id)
    assert len(set(seen)) == 2
    assert [point.step for point in client.get_metric_history(seen[1], "knn_top1")] == [10, 20]


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
        began = time.monotonic()
        play(made, made.next_search, curve)
        assert time.monotonic() - began < PATIENCE_S / 2, "no decision waits for the server"
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


def test_a_server_that_is_away_at_the_end_neither_stops_the_campaign_nor_loses_its_report(
    config, mlflow_server, tmp_path, caplog
):
    for is_there in (False, True):
        with tracking.run(config, tmp_path, campaign="end"):
            trial_runs = TrialRuns(tmp_path)
            made = campaign(tmp_path, config, [trial_runs])
            play(made, made.next_search, peak_at(0.3))
            plan_confirmation(made)
            play(made, made.next_confirmation, peak_at(0.3))
            trial_runs.close(made.trials)
            found = findings.find(made, "end", {})
            page = report.write(found, made.plan, tmp_path / "report")
            if not is_there:
                mlflow_server.kill()
            finish(found, page.parent)
            link(version := ModelVersion.model_construct(name="tiny", version=7))
        if not is_there:
            said = [record.getMessage() for record in caplog.records]
            assert any(f"the report is in {page.parent}, the same command again uploads it" in line for line in said)
            assert any("the campaign's run does not name its winner" in line for line in said)
            mlflow_server.start()
    parent, children = runs(config, "end")
    assert parent.info.status == "FINISHED" and parent.data.tags["selfray.verdict"] == found.verdict
    assert parent.data.tags["selfray.candidate"] == f"{version.name} version {version.version}"
    assert len(children) == len(made.trials) and all(run.info.status == "FINISHED" for run in children)
    paths = {file.path for file in connect(config.tracking.uri).list_artifacts(parent.info.run_id, "report")}
    assert "report/report.html" in paths


def test_a_campaign_that_began_without_a_server_is_linked_to_nothing_and_ends(config, tmp_path, caplog):
    away = config.tracking.model_copy(update={"uri": "http://127.0.0.1:9", "when_unreachable": "outbox"})
    with tracking.run(config.model_copy(update={"tracking": away}), tmp_path, campaign="away"):
        link(ModelVersion.model_construct(name="tiny", version=7))
    assert "the server was away when the campaign began; the campaign's run does not name its winner" in caplog.text
