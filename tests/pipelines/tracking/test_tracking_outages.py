"""Tracking over a real MLflow server that is away, is killed and starts again; and a writer that is killed."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipelines.errors import UserError
from pipelines.storage import outbox
from pipelines.tracking import runs as tracking
from pipelines.tracking import server, shipping
from pipelines.tracking.server import connect
from tests.pipelines.storage.test_outbox import WRITER, last_commit
from tests.support.mlflow_server import free_port
from tests.support.tracked import history, log, recipe, runs, stage_folder, written


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
        server.check(config, tmp_path)


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
    config, folder = recipe(tmp_path, "stays-away", **{"tracking.uri": mlflow_server.uri}), stage_folder(tmp_path)
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


def test_a_password_in_the_uri_is_not_logged(tmp_path, mlflow_server, capfd):
    uri = mlflow_server.uri.replace("//", "//me:secret@")
    config = recipe(tmp_path, "password", **{"tracking.uri": uri})
    with tracking.run(config, tmp_path):
        run_id = tracking.current().run_id
    assert capfd.readouterr() == ("", "")  # nor are links printed
    client = connect(uri)
    assert client.get_run(run_id).data.params["tracking.uri"] == f"http://{urlsplit(mlflow_server.uri).netloc}"
    folder = client.download_artifacts(run_id, "config.yaml", str(tmp_path))
    assert "secret" not in Path(folder).read_text()
