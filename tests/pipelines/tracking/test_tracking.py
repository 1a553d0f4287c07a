"""Tracking into SQLite in this process: what lies on the runs, which run goes on, what is reused."""

import math
import subprocess
import sys

import pytest

from pipelines.data.ingest import INGEST
from pipelines.data.shards.manifest import Manifest
from pipelines.errors import Interrupted, UserError
from pipelines.storage import outbox
from pipelines.tracking import runs as tracking
from pipelines.tracking import ui
from pipelines.tracking.server import is_server, shown
from tests.support.tracked import files, history, log, recipe, runs, stage_folder, written


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """One SQLite store for many tests: making its tables takes five seconds. Each test has its own run name."""
    return tmp_path_factory.mktemp("embedded")


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
        with tracking.stage_run(config, embedded, "ingest", folder, reused=False, dataset=INGEST.dataset):
            (folder / "manifest.json").write_text(listing.model_dump_json())
    parents, children = runs(config, embedded)
    for run in (*parents, *children):
        (given,) = run.inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == ("digits", listing.digest[:36])


def test_storage_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    config = recipe(tmp_path / "file" / "below", "unwritable")
    with pytest.raises(UserError, match=r"^storage: .*below"), tracking.run(config, tmp_path / "file" / "below"):
        raise AssertionError("it must not begin")


def test_links_and_the_command_of_the_pages(tmp_path):
    config = recipe(tmp_path, "pages")
    command, url = ui.ui(config, tmp_path, 5123)
    assert url == "http://127.0.0.1:5123/#/experiments?workflowType=machine_learning"
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path}/mlflow.db"
    assert str(tmp_path) in ui.how_to_open(config, tmp_path)
    remote = recipe(tmp_path, "pages", **{"tracking.uri": "https://me:secret@mlflow.example"})
    assert ui.ui(remote, tmp_path) == (
        None,
        "https://mlflow.example/#/experiments?workflowType=machine_learning",
    )
    assert is_server(remote.tracking.uri) and shown(remote.tracking.uri) == "https://mlflow.example"


def test_mlflow_says_nothing_on_the_terminal(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from pipelines.config.parse import load; from pipelines.tracking import runs\n"
        "root = Path(sys.argv[1])\n"
        "with runs.run(load('digits', {'storage': str(root)}), root): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
