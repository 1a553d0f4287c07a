"""`selfray tune` in processes of its own: to a registered winner, through a kill of the driver."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.support.recipe import TREE

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]  # whole campaigns on the command line: minutes


@pytest.fixture
def recipe(tmp_path) -> str:
    space = {"method.temperature": {"loguniform": [0.05, 1.0]}}
    confirm = {"top_k": 1, "seeds": 2}
    tree = {
        **TREE,
        "storage": str(tmp_path / "storage"),
        "train": {**TREE["train"], "steps": 600, "checkpoint_seconds": 1},
        "ray": {"object_store_mb": 256},
        "tune": {"space": space, "num_trials": 4, "looks": 6, "grace": 0.2, "samples": 512, "confirm": confirm},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return str(path)


def selfray(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_killed_or_stopped_loses_nothing_and_the_winner_is_registered(how, recipe, tmp_path):
    storage = tmp_path / "storage"
    log = tmp_path / "log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "pipelines", "tune", recipe]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        limit = time.monotonic() + 600
        while log.read_text().count("tune  trial 1") < 2 and time.monotonic() < limit:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        os.kill(process.pid, how)
        process.wait(300)
    if how == signal.SIGINT:
        said = log.read_text()
        assert process.returncode == 130 and "Ctrl-C: the running trials save a checkpoint" in said, said
        assert "Traceback" not in said and not list(storage.glob("tune/*/ray-*")), said
    before = {path: path.read_text() for path in storage.glob("tune/*/trials/*/trial.json")}
    ended = {path for path, text in before.items() if json.loads(text)["state"] not in ("running", "waiting")}
    assert ended, log.read_text()
    done = selfray("tune", recipe, "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recorded before" in done.stdout and "models:/tiny@candidate (version 1" in done.stdout
    assert all(path.read_text() == before[path] for path in ended), "what had ended is as it was"
    for path, text in before.items():
        seen = json.loads(text)["looks"]
        assert json.loads(path.read_text())["looks"][: len(seen)] == seen
    (page,) = storage.glob("tune/*/report/report.html")
    found = json.loads((page.parent / "report.json").read_text())
    assert len([t for t in found["trials"] if t["kind"] == "search"]) == 4 and len(found["confirmed"]) == 2
    again = selfray("run", str(page.parent / "winner.yaml"))
    assert again.returncode == 0, again.stderr
    assert "pretrain: reused" in again.stdout, "the winner's recipe is what was trained"
    _in_mlflow(storage)


def _in_mlflow(storage) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("selfray")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    (parent,) = [run for run in runs if run.data.tags.get("selfray.campaign")]
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    trials = [run for run in trials if run.data.tags.get("selfray.stage") == "trial"]
    assert len(trials) == 8 and all(run.info.status == "FINISHED" for run in trials)
    assert all("knn_top1" in run.data.metrics for run in trials)
    assert parent.info.status == "FINISHED" and "recipe" in parent.data.tags["selfray.verdict"]
    assert {f.path for f in client.list_artifacts(parent.info.run_id, "report")} >= {"report/report.html"}


def test_mistakes_are_said_before_ray_starts(recipe, tmp_path):
    began = time.monotonic()
    for arguments, words in (
        (["digits"], "tune: the recipe has no such section"),
        ([recipe, "--resume"], "--resume: no stopped campaign of this recipe and space on these data"),
        ([recipe, "--set", "tune.space={method.temprature: {uniform: [0.1, 1]}}"], "did you mean 'temperature'?"),
    ):
        done = selfray("tune", *arguments, "--set", f"storage={tmp_path}")
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert time.monotonic() - began < 240
