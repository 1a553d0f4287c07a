"""The command line as a user meets it, in processes of its own."""

import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import yaml

from tests.support.recipe import TREE

pytestmark = pytest.mark.timeout(900)


def selfray(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "pipelines", *arguments)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}  # other tests set some
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=ours, capture_output=True, text=True, timeout=800, check=False)


@pytest.fixture
def recipe(tmp_path) -> list[str]:
    """A recipe on a nested folder of 120 grey and color images of mixed sizes, JPEG and PNG, two of them broken."""
    draw = np.random.default_rng(0)
    for index in range(120):
        folder = tmp_path / "images" / ("cats" if index % 2 else "dogs") / f"{index % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        height, width = draw.integers(9, 40, 2)
        shape = (height, width) if index % 5 == 0 else (height, width, 3)
        pixels = draw.integers(0, 120, shape) + (120 if index % 2 else 0)
        suffix = ".png" if index % 4 else ".jpg"
        cv2.imwrite(str(folder / f"{index}{suffix}"), pixels.astype(np.uint8))
    (tmp_path / "images" / "cats" / "0" / "empty.png").write_bytes(b"")
    (tmp_path / "images" / "dogs" / "1" / "text.jpg").write_text("not an image")
    tree = {
        **TREE,
        "name": "folder",
        "storage": str(tmp_path / "storage"),
        "source": {"name": "image_folder", "path": str(tmp_path / "images")},
        "ingest": {"max_bad_fraction": 0.05},
        "ray": {"object_store_mb": 256},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return [str(path)]


def test_a_plain_folder_becomes_a_candidate_that_loads(recipe, tmp_path):
    done = selfray("run", *recipe)
    assert done.returncode == 0, done.stderr
    assert "2 quarantined" in done.stdout and "models:/folder@candidate (version 1" in done.stdout
    assert all(column in done.stdout for column in ("encoder", "random", "raw", "gain"))
    again = selfray("run", *recipe)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("reused") == 4 and "(version 1" in again.stdout
    script = (
        "import mlflow, sys, glob; mlflow.set_tracking_uri(f'sqlite:///{sys.argv[1]}/storage/mlflow.db');"
        "model = mlflow.pyfunc.load_model('models:/folder@candidate');"
        "data = [open(p, 'rb').read() for p in sorted(glob.glob(sys.argv[1] + '/images/*/*/1*.png'))[:3]];"
        "out = model.predict(data); assert out.shape == (3, 16), out.shape; print('loaded')"
    )
    loaded = python("-c", script, str(tmp_path))
    assert loaded.stdout.strip().endswith("loaded"), loaded.stderr


def test_without_labels_it_still_registers_and_says_what_is_missing(recipe):
    done = selfray("run", *recipe, "--set", "source.labels=none", "--set", "train.steps=4")
    assert done.returncode == 0, done.stderr
    assert "no labels" in done.stdout and "models:/folder@candidate" in done.stdout


def test_ctrl_c_keeps_a_checkpoint_and_the_same_command_goes_on(recipe, tmp_path):
    command = [sys.executable, "-m", "pipelines", "run", *recipe, "--set", "train.steps=300"]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        limit = time.monotonic() + 400
        while "pretrain  step" not in log.read_text() and time.monotonic() < limit:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=200) == 130, log.read_text()
    text = log.read_text()
    assert "run the same command again to go on from there" in text and "Traceback" not in text
    stopped = int(text.split("stopped at step ")[1].split(" ")[0])
    assert 0 < stopped < 300
    assert list((tmp_path / "storage" / "pretrain").glob(f"*/checkpoints/step_{stopped:08d}"))
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/storage/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "selfray"]
    runs = client.search_runs([experiment.experiment_id])
    statuses = {run.data.tags.get("selfray.stage", "run"): run.info.status for run in runs}
    assert statuses["run"] == "KILLED" and statuses["pretrain"] == "KILLED" and statuses["ingest"] == "FINISHED"

    audited = selfray("audit", *recipe, "--set", "train.steps=300")
    assert audited.returncode == 0, audited.stderr
    assert f"exact so far: every sample planned up to here was consumed once; {stopped:,} of 300" in audited.stdout
    other = selfray("run", *recipe, "--resume", "--set", "train.steps=300", "--set", "seed=7")
    assert other.returncode == 1
    assert "--resume: cannot go on" in other.stderr and "seed (0 there, 7 here)" in other.stderr
    quicker = ("--set", "train.log_every=5")  # does not touch what is computed
    same = selfray("pretrain", *recipe, "--resume", "--set", "train.steps=300", *quicker)
    assert same.returncode == 0 and "checkpoint: step 300" in same.stdout, same.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "digits", "--set", "method.temprature=1"), "unknown key; did you mean 'temperature'?"),
        (("run", "nothing.yaml"), "no such file"),
        (("run", "folder_simclr", "--set", "source.path=/does/not/exist", "--set", "storage={tmp}"), "source.path"),
        (("show", "digits", "--set", "encoder.name=renset"), "did you mean 'resnet'?"),
        (("evaluate", "nothing", "--on", "{tmp}", "--set", "storage={tmp}"), "nothing: no such model; give NAME@ALIAS"),
        (("run", "digits", "--set", "storage=/proc/nowhere"), "storage: /proc/nowhere: cannot write there"),
        (("run", "digits", "--set", "storage={tmp}", "--set", "tracking.uri=http://127.0.0.1:9"), "tracking.uri"),
    ],
)
def test_mistakes_are_one_clear_message_without_traceback(arguments, words, tmp_path):
    done = selfray(*(a.format(tmp=tmp_path) for a in arguments))
    assert done.returncode == 1
    assert words in done.stderr and "Traceback" not in done.stderr


def test_show_prints_yaml_that_runs_again():
    done = selfray("show", "digits", "--set", "seed=7")
    assert done.returncode == 0 and yaml.safe_load(done.stdout)["seed"] == 7


def test_a_process_that_was_started_deaf_to_ctrl_c_hears_it():
    """As `nohup` and the `&` of a script start it."""
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from pipelines.__main__ import main; main(['show', 'digits'])\n"
        "print('hears' if signal.getsignal(signal.SIGINT) is signal.default_int_handler else 'deaf')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.endswith("hears\n")


def test_list_names_every_component():
    done = selfray("list")
    assert done.returncode == 0
    for name in ("simclr", "mae", "resnet", "image_crop_jitter", "knn", "image_folder", "digits"):
        assert name in done.stdout


def test_doctor_finds_this_machine_fit(tmp_path):
    done = selfray("doctor", "digits", "--set", f"storage={tmp_path}", "--set", "ray.object_store_mb=256")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 nodes see it" in done.stdout and "FAULT" not in done.stdout


def test_doctor_says_what_to_do(tmp_path):
    done = selfray("doctor", "digits", "--set", f"storage={tmp_path}", "--set", "tracking.uri=http://127.0.0.1:9")
    assert done.returncode == 1
    assert "FAULT" in done.stdout and "-> start the server" in done.stdout
