"""Tracking against a real MLflow: SQLite in this process, and a server that is killed and started again."""

import math
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipelines import outbox, shipping, tracking
from pipelines.config import load
from pipelines.errors import Interrupted, UserError
from pipelines.manifest import Manifest
from pipelines.mlflow_store import connect, is_server, run_url, shown, storage
from tests.pipelines.test_outbox import WRITER, last_commit
from tests.support.mlflow_server import free_port


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """One SQLite store for many tests: making its tables takes five seconds. Each test has its own run name."""
    return tmp_path_factory.mktemp("embedded")


def recipe(root, name, **changes):
    return load("digits", {"name": name, "storage": str(root), **changes})


def stage_folder(root, name="pretrain"):
    folder = root / name / "0123456789abcdef"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log(folder, steps, *, final=False):
    for step in steps:
        outbox.append(folder, step=step, total=100, metrics={"loss": step / 2}, final=final)


def runs(config, root):
    """(parents, children), newest first."""
    client = connect(storage(config, root))
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    mine = [run for run in found if run.data.params.get("name") == config.name]
    ids = {run.info.run_id for run in mine}
    return mine, [run for run in found if run.data.tags.get("mlflow.parentRunId") in ids]


def history(config, root, run, metric="loss"):
    points = connect(storage(config, root)).get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value, point.timestamp) for point in points)


def written(folder):
    return [(p.step, p.metrics["loss"], p.time) for p in outbox.read(folder)]


def files(config, root, run, path=None):
    return [file.path for file in connect(storage(config, root)).list_artifacts(run.info.run_id, path)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (ValueError, "FAILED"),
        (UserError, "FAILED"),
        (Interrupted, "KILLED"),
        (KeyboardInterrupt, "KILLED"),
    ],
)
def test_statuses_and_what_is_on_the_runs(tmp_path, embedded, error, status):
    config = recipe(embedded, f"status-{error.__name__ if error else None}")
    folder = stage_folder(tmp_path)
    (folder / "report").mkdir()
    (folder / "report" / "curves.md").write_text("# Curves")
    outbox.note(folder, "a checkpoint was passed over")
    seen = None
    try:
        with tracking.run(config, embedded), tracking.stage_run(config, embedded, "pretrain", folder, reused=False):
            log(folder, [1, 2])
            outbox.commit(folder, 2)
            log(folder, [3])
            if error:
                raise error("on purpose")
    except (Exception, KeyboardInterrupt) as raised:
        seen = type(raised)
    assert seen is error
    (parent,), (child,) = runs(config, embedded)
    assert parent.info.status == child.info.status == status
    assert child.info.run_name == child.data.tags["selfray.stage"] == "pretrain"
    assert child.data.tags["selfray.stage_folder"] == folder.name
    # step 3 has no checkpoint, so it is final only where the stage came to its end
    assert history(config, embedded, child) == written(folder)[: 3 if error is None else 2]
    assert files(config, embedded, child) == ["notes.log", "report"]
    assert {"config.yaml", "environment.json"} <= set(files(config, embedded, parent))
    assert parent.data.params["method.temperature"] == "0.2"
    assert parent.data.params["views.global.crop_min"] == "0.4"
    assert parent.data.tags["mlflow.user"] and parent.data.tags["git.dirty"] in ("true", "false")


def test_non_finite_values_and_many_metrics_arrive(tmp_path, embedded):
    config, folder = recipe(embedded, "odd"), stage_folder(tmp_path)
    with tracking.run(config, embedded), tracking.stage_run(config, embedded, "pretrain", folder, reused=False):
        outbox.append(folder, step=1, total=1, metrics={f"m/{i}": i for i in range(1200)}, final=True)
        outbox.append(folder, step=1, total=1, metrics={"nan": math.nan, "up": math.inf}, final=True)
    _, (child,) = runs(config, embedded)
    assert len(child.data.metrics) == 1202
    assert math.isnan(child.data.metrics["nan"])
    assert child.data.metrics["up"] > 1e308


def test_an_interrupted_run_goes_on_and_a_finished_one_is_reused(tmp_path, embedded):
    config, folder = recipe(embedded, "again"), stage_folder(tmp_path)
    scored = stage_folder(tmp_path, "evaluate")

    def interrupted():
        with tracking.run(config, embedded), tracking.stage_run(config, embedded, "pretrain", folder, reused=False):
            log(folder, [1, 2])
            outbox.commit(folder, 2)
            log(folder, [3])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with tracking.run(config, embedded):
        with tracking.stage_run(config, embedded, "pretrain", folder, reused=False):
            outbox.rewind(folder, 2)
            log(folder, [3, 4])
        with tracking.stage_run(config, embedded, "evaluate", scored, reused=False):
            outbox.append(scored, step=1, total=2, metrics={"knn_top1_k20": 0.25}, final=True)
            outbox.append(scored, step=2, total=2, metrics={"knn_top1_k20": 0.5}, final=True)
    (parent,), children = runs(config, embedded)
    assert [child.info.run_name for child in children] == ["evaluate", "pretrain"]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert parent.data.tags["selfray.restarts"] == "1"
    assert history(config, embedded, children[1]) == written(folder)
    assert [point[:2] for point in history(config, embedded, parent, "knn_top1_k20")] == [(2, 0.5)]

    with tracking.run(config, embedded):
        for name, done in (("pretrain", folder), ("evaluate", scored)):
            with tracking.stage_run(config, embedded, name, done, reused=True):
                pass
    (newest, first), children = runs(config, embedded)
    assert first.info.run_id == parent.info.run_id
    assert len(children) == 2  # no new ones
    assert newest.data.tags["selfray.reused.pretrain"] == newest.data.tags["selfray.reused.evaluate"] == folder.name
    assert newest.data.metrics == {"knn_top1_k20": 0.5}


def test_another_config_has_its_own_run_and_all_of_a_stage_that_it_takes_over(tmp_path, embedded):
    folder = stage_folder(tmp_path)
    first, second = recipe(embedded, "one"), recipe(embedded, "two")

    def interrupted():
        with tracking.run(first, embedded), tracking.stage_run(first, embedded, "pretrain", folder, reused=False):
            log(folder, [1, 2], final=True)
            raise Interrupted("stop")

    with pytest.raises(Interrupted):
        interrupted()
    with tracking.run(second, embedded), tracking.stage_run(second, embedded, "pretrain", folder, reused=False):
        log(folder, [3], final=True)
    _, (child,) = runs(second, embedded)
    assert history(second, embedded, child) == written(folder)


def test_the_data_set_is_an_input_of_the_run(tmp_path, embedded):
    config, folder = recipe(embedded, "data"), stage_folder(tmp_path, "ingest")
    listing = Manifest(source={"name": "digits"}, train=(), test=(), classes=None, num_quarantined=2, num_duplicates=0)
    listing = listing.model_copy(update={"digest": listing.compute_digest()})
    for _ in range(2):  # a stage alone opens its own run, and the same data set may be logged again
        with tracking.stage_run(config, embedded, "ingest", folder, reused=False):
            (folder / "manifest.json").write_text(listing.model_dump_json())
    parents, children = runs(config, embedded)
    for run in (*parents, *children):
        (given,) = run.inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == ("digits", listing.digest[:36])


def test_an_unreachable_server_is_said_within_ten_seconds(tmp_path):
    uri = f"http://127.0.0.1:{free_port()}"
    config = recipe(tmp_path, "away", **{"tracking.uri": uri})
    began = time.monotonic()
    expected = rf"^tracking\.uri: {uri}: unreachable \(.+\); start it, or set"
    with pytest.raises(UserError, match=expected) as said, tracking.run(config, tmp_path):
        raise AssertionError("it must not begin")
    assert time.monotonic() - began < 10
    assert "\n" not in str(said.value)
    with pytest.raises(UserError, match="unreachable"):
        tracking.current()
    with pytest.raises(UserError, match=rf"^tracking\.uri: {uri}: "):
        tracking.check(config, tmp_path)


def test_storage_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    config = recipe(tmp_path / "file" / "below", "unwritable")
    with pytest.raises(UserError, match=r"^storage: .*below"), tracking.run(config, tmp_path / "file" / "below"):
        raise AssertionError("it must not begin")


def test_what_was_kept_while_the_server_was_away_is_shipped_by_the_next_run(tmp_path, mlflow_server, caplog):
    folder = stage_folder(tmp_path)
    changes = {"tracking.when_unreachable": "outbox"}
    away = recipe(tmp_path, "kept", **changes, **{"tracking.uri": f"http://127.0.0.1:{free_port()}"})
    with tracking.run(away, tmp_path), tracking.stage_run(away, tmp_path, "pretrain", folder, reused=False):
        log(folder, [1, 2, 3], final=True)
    assert "the next run of this config ships it" in caplog.text
    config = recipe(tmp_path, "kept", **changes, **{"tracking.uri": mlflow_server.uri})
    with tracking.run(config, tmp_path), tracking.stage_run(config, tmp_path, "pretrain", folder, reused=True):
        pass
    (parent,), (child,) = runs(config, tmp_path)
    assert parent.info.status == child.info.status == "FINISHED"
    assert history(config, tmp_path, child) == written(folder)
    assert shipping.state(folder).done


def test_a_server_killed_in_the_middle_loses_no_point_and_gets_none_twice(tmp_path, mlflow_server):
    config, folder = recipe(tmp_path, "killed", **{"tracking.uri": mlflow_server.uri}), stage_folder(tmp_path)
    restart = threading.Thread(target=mlflow_server.start)
    with tracking.run(config, tmp_path), tracking.stage_run(config, tmp_path, "pretrain", folder, reused=False):
        for step in range(1, 121):
            began = time.monotonic()
            outbox.append(folder, step=step, total=120, metrics={"loss": step / 2}, final=step % 3 == 0)
            assert time.monotonic() - began < 1  # logging never waits for the server
            if step == 40:
                mlflow_server.kill()
            if step == 80:
                restart.start()
            time.sleep(0.05)
        restart.join()
    (parent,), (child,) = runs(config, tmp_path)
    assert parent.info.status == child.info.status == "FINISHED"
    assert history(config, tmp_path, child) == written(folder)
    assert len(written(folder)) == 120


def test_a_server_that_stays_away_holds_nobody_up_and_the_next_run_ships_the_rest(tmp_path, mlflow_server, monkeypatch):
    monkeypatch.setattr(tracking, "PATIENCE_S", 1.0)
    config, folder = recipe(tmp_path, "gone", **{"tracking.uri": mlflow_server.uri}), stage_folder(tmp_path)
    later = stage_folder(tmp_path, "evaluate")
    with tracking.run(config, tmp_path):
        with tracking.stage_run(config, tmp_path, "pretrain", folder, reused=False):
            log(folder, [1, 2], final=True)
            time.sleep(1.5)
            mlflow_server.kill()
            log(folder, [3], final=True)
        with tracking.stage_run(config, tmp_path, "evaluate", later, reused=False):
            log(later, [1], final=True)
    mlflow_server.start()
    (parent,), _ = runs(config, tmp_path)
    assert parent.info.status == "RUNNING"
    with tracking.run(config, tmp_path):
        for name, done in (("pretrain", folder), ("evaluate", later)):
            with tracking.stage_run(config, tmp_path, name, done, reused=True):
                pass
    (parent,), children = runs(config, tmp_path)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    assert [history(config, tmp_path, child) for child in children] == [written(later), written(folder)]


def test_points_of_a_killed_writer_arrive_once(tmp_path, mlflow_server):
    config, folder = recipe(tmp_path, "writer", **{"tracking.uri": mlflow_server.uri}), stage_folder(tmp_path)
    with tracking.run(config, tmp_path), tracking.stage_run(config, tmp_path, "pretrain", folder, reused=False):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), "0", "100000", "0.01"])
        deadline = time.monotonic() + 60
        while not (folder / outbox.NAME).exists() or last_commit(folder) < 50:
            assert time.monotonic() < deadline and writer.poll() is None
            time.sleep(0.02)
        time.sleep(1.2)  # some of it is shipped
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        restored = last_commit(folder)
        last = restored + 37
        subprocess.run([sys.executable, "-c", WRITER, str(folder), str(restored), str(last), "0.01"], check=True)
    _, (child,) = runs(config, tmp_path)
    arrived = history(config, tmp_path, child)
    assert [step for step, _, _ in arrived] == list(range(1, last + 1))
    assert arrived == written(folder)


def test_links_and_the_command_of_the_pages(tmp_path):
    config = recipe(tmp_path, "pages")
    command, url = tracking.ui(config, tmp_path, 5123)
    assert url == "http://127.0.0.1:5123/#/experiments?workflowType=machine_learning"
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path}/mlflow.db"
    assert str(tmp_path) in tracking.how_to_open(config, tmp_path)
    remote = recipe(tmp_path, "pages", **{"tracking.uri": "https://me:secret@mlflow.example"})
    assert tracking.ui(remote, tmp_path) == (None, "https://mlflow.example/#/experiments?workflowType=machine_learning")
    assert run_url(remote, tmp_path, "1", "ab").startswith(
        "https://mlflow.example/#/experiments/1/runs/ab?workflowType"
    )
    assert is_server(remote.tracking.uri) and shown(remote.tracking.uri) == "https://mlflow.example"


def test_mlflow_says_nothing_on_the_terminal(tmp_path):
    script = (
        "import sys; from pathlib import Path; from pipelines import tracking; from pipelines.config import load\n"
        "root = Path(sys.argv[1])\n"
        "with tracking.run(load('digits', {'storage': str(root)}), root): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
