"""Runs as jobs of a cluster: submit, follow, detach, stop, and what goes wrong on the way there."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster import local_nodes
from cluster.jobs import Jobs
from pipelines.errors import UserError
from pipelines.storage import checkpoint, outbox
from pipelines.train.audit import of_run
from tests.support.commands import selfray, start, until
from tests.support.images import good_tree
from tests.support.mlflow_server import free_port
from tests.support.registry import pack_tiny

pytestmark = pytest.mark.timeout(900)


def stage(storage: Path, steps: int) -> Path | None:
    """The pre-training's folder with that many planned steps, once it has logged one."""
    for folder in (storage / "pretrain").glob("*"):
        points, _ = outbox.tail(folder, 0)
        if points and points[-1].total == steps:
            return folder
    return None


def test_a_recipe_is_submitted_and_followed_to_its_end(here):
    command = ("submit", here.recipe, "--verb", "pretrain", *here.at)
    done = selfray(*command)
    assert done.returncode == 0, done.stdout
    name = done.stdout.split("submitted ")[1].split(" ")[0]
    assert name.startswith("selfray-pretrain-tiny-") and " MB)" in done.stdout
    assert "pretrain  step 12/12" in done.stdout and "checkpoint: step 12" in done.stdout
    folder = stage(here.storage, 12)
    assert folder and of_run(folder).is_exact

    again = selfray(*command)
    assert again.returncode == 1 and f"{name}: the same config was done there already" in again.stdout
    listed = selfray("jobs", *here.at).stdout
    assert name in listed and "succeeded" in listed
    assert "checkpoint: step 12" in selfray("logs", name, *here.at).stdout
    assert "no such job" in selfray("logs", "selfray-nothing", *here.at).stdout


@pytest.mark.slow
def test_ctrl_c_detaches_stop_saves_a_checkpoint_and_resubmitting_goes_on(here, tmp_path):
    command = ("submit", here.recipe, "--verb", "pretrain", "--set", "train.steps=4000", *here.at)
    log = tmp_path / "log"
    follower = start(log, *command)
    assert until(lambda: "pretrain  step" in log.read_text(), 200), log.read_text()
    os.kill(follower.pid, signal.SIGINT)
    assert follower.wait(60) == 130
    text = log.read_text()
    name = text.split("submitted ")[1].split(" ")[0]
    assert f"{name} goes on" in text and f"selfray logs {name} --follow" in text and "Traceback" not in text

    twice = selfray(*command)
    assert twice.returncode == 1 and f"{name}: the same config is running there already" in twice.stdout
    stopped = selfray("stop", name, *here.at)
    assert stopped.returncode == 0 and f"{name}: stopped" in stopped.stdout, stopped.stdout
    folder = stage(here.storage, 4000)
    assert folder
    reached = checkpoint.latest_step(folder / "checkpoints")
    assert 0 < reached < 4000 and outbox.tail(folder, 0)[0][-1].step == reached, "stopped at a checkpoint"

    second = selfray(*command)
    assert second.returncode == 0 and f"submitted {name}-2" in second.stdout, second.stdout
    found = of_run(folder)
    assert found.is_exact and found.steps == 4000 and len(found.restarts) == 1


@pytest.mark.slow
def test_a_model_embeds_and_is_scored_there(here, tmp_path):
    """With paths as they are meant here: the job runs in another folder."""
    packed, raw = pack_tiny(tmp_path / "model"), good_tree(tmp_path / "raw", 40)
    output = here.storage / "embedded"
    options = ("--verb", "embed", "--input", str(raw), "--output", str(output), "--batch-size", "8")
    done = selfray("submit", str(packed), *options, *here.at)
    said = f"embedded:  40 samples, 0 quarantined, {packed}: {output}"
    assert done.returncode == 0 and said in done.stdout, done.stdout
    again = selfray("submit", str(packed), *options, *here.at)
    assert again.returncode == 1 and "was done there already" in again.stdout
    places = ("--on", str(raw), "--set", f"storage={here.storage}", "--set", "ingest.test_fraction=0.3")
    scored = selfray("submit", str(packed), "--verb", "evaluate", *places, *here.at)
    assert scored.returncode == 0 and "submitted selfray-evaluate-model-on-raw-" in scored.stdout, scored.stdout
    assert list(here.storage.glob("evaluations/*/report/report.md")), scored.stdout


@pytest.mark.slow
def test_gpus_that_do_not_come_end_the_job_with_its_reason(here):
    changes = ("--set", "train.device=cuda", "--set", "ray.wait_seconds=2", "--set", "train.steps=13")
    done = selfray("submit", here.recipe, "--verb", "pretrain", *changes, *here.at)
    assert done.returncode == 1, done.stdout
    assert "waiting up to 2 s for 2 GPUs (0 there)" in done.stdout
    assert "2 workers need 2 GPUs, the cluster has 0" in done.stdout and "Traceback" not in done.stdout


@pytest.mark.slow
def test_of_two_that_submit_the_same_at_once_the_second_is_told(here, tmp_path):
    """Both have found the id free."""
    (tmp_path / "file").touch()
    jobs = Jobs(here.made.address)
    jobs.submit("sleep 1", "selfray-twice", str(tmp_path), {"selfray": "run", "user": "a"})
    with pytest.raises(UserError, match=r"^selfray-twice: somebody has submitted the same a moment ago; `selfray logs"):
        jobs.submit("sleep 1", "selfray-twice", str(tmp_path), {"selfray": "run", "user": "b"})


@pytest.mark.parametrize(
    ("address", "token", "words"),
    [
        ("127.0.0.1:9", None, "no cluster answers"),
        pytest.param(None, "b" * 64, "the cluster refused the token", marks=pytest.mark.slow),
    ],
    ids=["a dead address", "a wrong token"],
)
def test_a_driver_that_cannot_join_says_why_in_one_line(address, token, words, here, tmp_path):
    changes = ("--set", f"storage={tmp_path}", "--set", f"ray.address={address or here.made.gcs}")
    environment = {}
    if token:
        (tmp_path / "token").write_text(token)
        (tmp_path / "token").chmod(0o600)
        environment["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / "token")
    began = time.monotonic()
    done = selfray("ingest", here.recipe, *changes, **environment)
    assert done.returncode == 1 and words in done.stdout, done.stdout
    assert len(done.stdout.strip().splitlines()) == 1, done.stdout
    assert time.monotonic() - began < 120
    if token:
        assert token not in done.stdout


def test_data_that_is_not_there_is_said_by_the_job(here):
    changes = ("--set", "source.name=image_folder", "--set", "source.path=/not/on/the/cluster")
    done = selfray("submit", here.recipe, "--verb", "ingest", *changes, *here.at)
    assert done.returncode == 1 and "source.path: /not/on/the/cluster" in done.stdout, done.stdout


def test_doctor_examines_the_cluster_from_inside(here):
    done = selfray("doctor", here.recipe, *here.at)
    assert done.returncode == 0, done.stdout
    assert "3 of 3 nodes see it" in done.stdout and "equal on 3 nodes" in done.stdout
    assert done.stdout.count("2 CPUs, 0 GPUs, 256 MB object store") == 3


@pytest.mark.slow
def test_a_plan_is_rehearsed_on_the_cluster(here):
    done = selfray("plan", here.recipe, *here.at)
    assert done.returncode == 0, done.stdout
    assert "workers       2 of 1 CPU each: 2 on 127.0.0.1/" in done.stdout, done.stdout
    assert "readers       2 at once of 1 CPU each; room for " in done.stdout and "too few" not in done.stdout
    for word in ("samples/s", "time", "memory", "object store", "disk"):
        assert f"\n{word}  " in done.stdout, word


def test_a_wrong_token_is_refused_with_what_to_do(here, tmp_path):
    (tmp_path / "token").write_text("b" * 64)
    done = selfray("jobs", *here.at, RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert done.returncode == 1 and "the cluster refused the token" in done.stdout, done.stdout
    assert "Traceback" not in done.stdout and "b" * 64 not in done.stdout


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:9", "no cluster answers there"),
        ("127.0.0.1:8265", "write it as a URL"),
        ("http://no-such-host.invalid:8265", "no cluster answers there"),
    ],
)
def test_an_address_without_a_cluster_is_one_clear_line(address, words):
    done = selfray("jobs", "--address", address)
    assert done.returncode == 1 and words in done.stdout, done.stdout
    assert len(done.stdout.strip().splitlines()) == 1


def test_a_second_cluster_in_the_same_folder_is_refused(here):
    with pytest.raises(UserError, match=f"3 nodes are up already at {here.made.address}"):
        local_nodes.up(here.folder, num_nodes=1, cpus_per_node=1)


def test_it_listens_on_loopback_only(here):
    family = [p for node in here.made.alive() for p in [psutil.Process(node.pid), *_children(node.pid)]]
    listening = [c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert len(listening) > 6 and set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1"}, set(listening)


@pytest.mark.slow
def test_a_node_with_a_storage_of_its_own_is_named(here):
    """A mount namespace gives one more node an empty folder at the same path."""
    empty = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {here.storage} && exec "$0" "$@"')
    if not shutil.which("unshare") or subprocess.run([*empty, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a mount namespace")
    made = local_nodes.join(here.folder, 1, empty)
    try:
        done = selfray("submit", here.recipe, "--verb", "ingest", "--again", *here.at)
        assert done.returncode == 1, done.stdout
        assert f"storage: {here.storage}: not one folder on all nodes" in done.stdout
    finally:
        psutil.Process(made.nodes[-1].pid).kill()


@pytest.mark.slow
def test_down_ends_what_up_started_and_nothing_else(tmp_path):
    """A recorded process id that now belongs to another process is left alone."""
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        node = local_nodes.Node(pid=bystander.pid, started=1.0, cpus=1, log=tmp_path / "log")
        made = local_nodes.Cluster(address="http://127.0.0.1:1", gcs="127.0.0.1:2", object_store_mb=256, nodes=(node,))
        (tmp_path / local_nodes.NAME).write_text(made.model_dump_json())
        assert local_nodes.down(tmp_path) == 0 and bystander.poll() is None
        assert local_nodes.load(tmp_path) is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.fixture
def no_ray(tmp_path) -> Iterator[int]:
    """Port of a server that is something else."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: answers(port), 60)
        yield port
    finally:
        server.kill()
        server.wait()


def test_a_server_that_is_no_ray_is_said(no_ray):
    done = selfray("jobs", "--address", f"http://127.0.0.1:{no_ray}")
    assert done.returncode == 1 and "is that a Ray 2.60 dashboard?" in done.stdout, done.stdout


@pytest.mark.slow
def test_a_driver_that_joins_what_is_no_ray_says_so(no_ray, tmp_path):
    changes = ("--set", f"ray.address=127.0.0.1:{no_ray}", "--set", f"storage={tmp_path / 'store'}")
    done = selfray("ingest", "digits", *changes)
    assert done.returncode == 1 and f"selfray: ray.address: 127.0.0.1:{no_ray}: no cluster answers (" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1, done.stdout


def answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def _children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)
