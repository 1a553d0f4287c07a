"""Pre-training on a real Ray: workers that die, clusters that are too small, Ctrl-C."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipelines import outbox
from pipelines.artifacts import Nothing, ShardSet
from pipelines.config import RunConfig, parse
from pipelines.errors import UserError
from pipelines.stages import ingest, pretrain
from tests.support.recipe import TREE

pytestmark = pytest.mark.timeout(900)
CHANGES = {
    "train.steps": 60,
    "train.num_workers": 2,
    "train.checkpoint_seconds": 0.2,
    "train.monitor_samples": 64,
    "train.monitor_every": 20,
}


@pytest.fixture(scope="module")
def shards(ray_session, tmp_path_factory) -> ShardSet:
    return ingest.run(parse(TREE), Nothing(), tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert pretrain.run(parse(TREE, CHANGES), shards, folder).step == 60
    return folder


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(p.step, p.metrics["loss"]) for p in outbox.read(folder)]


def train_workers() -> list[psutil.Process]:
    """The training processes of this session's own Ray."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:  # it ended while we looked
            continue
    return sorted(found, key=lambda p: p.pid)


def test_two_ray_workers_train_monitor_and_log(undisturbed):
    points = list(outbox.read(undisturbed))
    assert [p.step for p in points] == list(range(2, 61, 2))
    assert points[-1].metrics["loss"] < points[0].metrics["loss"]
    last = points[-1].metrics
    assert 0 <= last["monitor/knn_top1"] <= 1 and last["monitor/rankme"] >= 1 and last["monitor/feature_std"] > 0


def test_a_killed_worker_changes_nothing(shards, undisturbed, tmp_path):
    killed = []

    def kill() -> None:
        while not killed:
            points, _ = outbox.tail(tmp_path, 0)
            workers = train_workers()
            if points and points[-1].step >= 10 and workers:
                victim = workers[int(time.time()) % len(workers)]
                os.kill(victim.pid, signal.SIGKILL)
                killed.append(points[-1].step)
            time.sleep(0.02)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    made = pretrain.run(parse(TREE, CHANGES), shards, tmp_path)
    assert killed and killed[0] < 60, "the worker died while training"
    assert made.step == 60
    assert losses(tmp_path) == losses(undisturbed)
    assert made.digest == pretrain.run(parse(TREE, CHANGES), shards, undisturbed).digest


def test_one_worker_goes_on_where_two_were_stopped(shards, undisturbed, tmp_path):
    half = parse(TREE, {**CHANGES, "train.steps": 60})
    from pipelines.errors import Interrupted
    from pipelines.worker import STOP

    def stop() -> None:
        while not (points := outbox.tail(tmp_path, 0)[0]) or points[-1].step < 8:
            time.sleep(0.02)
        (tmp_path / STOP).touch()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted, match="stopped at step"):
        pretrain.run(half, shards, tmp_path)
    assert losses(tmp_path)[-1][0] < 60
    one: RunConfig = parse(TREE, {**CHANGES, "train.num_workers": 1})
    assert pretrain.run(one, shards, tmp_path).step == 60
    here, there = losses(tmp_path), losses(undisturbed)
    assert [s for s, _ in here] == [s for s, _ in there]
    np.testing.assert_allclose([x for _, x in here], [x for _, x in there], rtol=2e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.num_workers": 8}, "need 16 CPUs, the cluster has 4"),
        ({"train.device": "cuda"}, "need 1 GPUs, the cluster has 0"),
        ({"train.global_batch_size": 4096}, "is more than the 1437 samples"),
    ],
)
def test_what_cannot_run_is_said_within_seconds(shards, tmp_path, changes, words):
    began = time.monotonic()
    with pytest.raises(UserError, match=words):
        pretrain.run(parse(TREE, changes), shards, tmp_path)
    assert time.monotonic() - began < 10


def test_a_loss_that_is_not_finite_reaches_the_user_as_one_line(shards, tmp_path):
    config = parse(TREE, {"optim.lr": 1e30, "optim.warmup_fraction": 0.0})
    with pytest.raises(UserError, match="the loss is not finite at step") as caught:
        pretrain.run(config, shards, tmp_path)
    assert "\n" not in str(caught.value)
