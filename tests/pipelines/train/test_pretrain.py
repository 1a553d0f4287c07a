"""Pre-training on a real Ray: workers that die, clusters that are too small, Ctrl-C."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.config.parse import parse
from pipelines.config.run import RunConfig
from pipelines.data import ingest
from pipelines.data.shards import manifest
from pipelines.data.shards.shard_set import ShardSet
from pipelines.errors import UserError
from pipelines.stage import Nothing
from pipelines.storage import outbox
from pipelines.train import consumption, pretrain
from pipelines.train.audit import Audit
from tests.support.processes import ray_processes
from tests.support.recipe import TREE

pytestmark = pytest.mark.timeout(900)
CHANGES = {
    "train.precision": "fp32",  # one worker and two are compared, and bf16 rounds by how a batch is split
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
    return [(p.step, p.metrics["loss"]) for p in outbox.read(folder) if "loss" in p.metrics]


def test_two_ray_workers_train_monitor_and_log(undisturbed):
    points = [point for point in outbox.read(undisturbed) if "loss" in point.metrics]
    assert [p.step for p in points] == list(range(2, 61, 2))
    assert points[-1].metrics["loss"] < points[0].metrics["loss"]
    last = points[-1].metrics
    assert 0 <= last["monitor/knn_top1"] <= 1 and last["monitor/rankme"] >= 1 and last["monitor/feature_std"] > 0


def test_workers_that_hold_shares_train_and_look_alike(shards, undisturbed, tmp_path):
    assert pretrain.run(parse(TREE, {**CHANGES, "train.parallel": "fsdp"}), shards, tmp_path).step == 60
    for metric in ("loss", "monitor/feature_std"):
        here, there = (
            {p.step: p.metrics[metric] for p in outbox.read(folder) if metric in p.metrics}
            for folder in (tmp_path, undisturbed)
        )
        assert here.keys() == there.keys() and len(here) >= 3
        np.testing.assert_allclose(list(here.values()), list(there.values()), rtol=2e-3)


def test_a_killed_worker_changes_nothing(shards, undisturbed, tmp_path):
    killed = []

    def kill() -> None:
        while not killed:
            points, _ = outbox.tail(tmp_path, 0)
            workers = ray_processes("RayTrainWorker")
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
    found = Audit.model_validate_json((tmp_path / "report" / "audit.json").read_text())
    assert found.is_exact and len(found.restarts) == 1
    assert made.digest == pretrain.run(parse(TREE, CHANGES), shards, undisturbed).digest
    assert consumption.read(undisturbed).restarts == (), "what is done is not opened again"


@pytest.mark.slow
def test_workers_killed_in_the_middle_of_a_checkpoint_write_change_nothing(shards, undisturbed, tmp_path):
    half_written: list[Path] = []

    def kill() -> None:
        while not outbox.tail(tmp_path, 0)[0]:
            time.sleep(0.02)
        while not half_written:
            workers = ray_processes("RayTrainWorker")
            while not list((tmp_path / "checkpoints").glob(".step_*.part")):
                pass  # a write takes milliseconds
            for worker in workers:
                worker.suspend()
            half_written.extend((tmp_path / "checkpoints").glob(".step_*.part"))  # still there, and nobody goes on
            for worker in workers:
                (worker.kill if half_written else worker.resume)()

    threading.Thread(target=kill, daemon=True).start()
    made = pretrain.run(parse(TREE, CHANGES), shards, tmp_path)
    assert half_written, "killed in the middle of a write"
    assert made.step == 60 and losses(tmp_path) == losses(undisturbed)
    found = Audit.model_validate_json((tmp_path / "report" / "audit.json").read_text())
    assert found.is_exact and found.is_complete and len(found.restarts) == 1
    assert not list((tmp_path / "checkpoints").glob(".*")), "what a kill left is gone"


@pytest.mark.slow
def test_a_killed_controller_changes_nothing(shards, undisturbed, tmp_path):
    """Ray Train does not restart its controller; we do, and its orphans write nothing."""
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            points, _ = outbox.tail(tmp_path, 0)
            if points and points[-1].step >= 10:
                (controller,) = ray_processes("TrainController")
                os.kill(controller.pid, signal.SIGKILL)
                killed.append(points[-1].step)
            time.sleep(0.02)

    threading.Thread(target=kill, daemon=True).start()
    made = pretrain.run(parse(TREE, CHANGES), shards, tmp_path)
    assert killed and killed[0] < 60, "the controller died while training"
    assert "the training controller died" in (tmp_path / outbox.NOTES).read_text()
    assert made.step == 60 and losses(tmp_path) == losses(undisturbed)
    found = Audit.model_validate_json((tmp_path / "report" / "audit.json").read_text())
    assert found.is_exact and len(found.restarts) == 1


@pytest.mark.slow
def test_one_worker_goes_on_where_two_were_stopped(shards, undisturbed, tmp_path):
    half = parse(TREE, {**CHANGES, "train.steps": 60})
    from pipelines.errors import Interrupted
    from pipelines.storage.signals import STOP

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


@pytest.fixture
def copied(shards, tmp_path) -> ShardSet:
    """Shards that a test may damage."""
    return shards.model_copy(update={"folder": Path(shutil.copytree(shards.folder, tmp_path / "shards"))})


def after_verification(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Do something to the shards at the worst moment: all sha256 are checked, nothing is read yet."""
    verify = manifest.verify

    def verify_then_act(folder: Path, listing: manifest.Manifest) -> None:
        verify(folder, listing)
        act(folder, listing)

    monkeypatch.setattr(manifest, "verify", verify_then_act)


def test_a_row_damaged_after_ingest_is_replaced_and_named_in_the_audit(copied, tmp_path, monkeypatch):
    def damage(folder: Path, listing: manifest.Manifest) -> None:
        path = folder / listing.train[0].path
        image = pq.read_table(path)["image"][7].as_py()
        data = bytearray(path.read_bytes())
        where = data.index(image)
        data[where + 40 : where + len(image)] = bytes(len(image) - 40)  # past the header of the PNG
        path.write_bytes(data)

    after_verification(monkeypatch, damage)
    bad = int(pq.read_table(copied.folder / manifest.load(copied.folder).train[0].path)["sample_id"][7].as_py())
    config = parse(TREE, {**CHANGES, "train.steps": 180})  # two epochs and a bit: 89 batches of 16 each
    made = pretrain.run(config, copied, tmp_path / "stage")
    assert made.step == 180
    found = Audit.model_validate_json((tmp_path / "stage" / "report" / "audit.json").read_text())
    assert found.is_exact, "the plan was kept"
    assert [row.sample_id for row in found.quarantined] == [bad] and found.quarantined[0].origin
    assert sum(epoch.replaced for epoch in found.epochs) in (1, 2, 3)  # an epoch may leave it over
    assert f"sample {bad} (" in found.markdown()


def test_a_shard_that_vanishes_ends_the_run_with_its_name(copied, tmp_path, monkeypatch):
    after_verification(monkeypatch, lambda folder, listing: (folder / listing.train[0].path).unlink())
    with pytest.raises(UserError, match=r"part-00000\.parquet: row group \d+ cannot be read") as caught:
        pretrain.run(parse(TREE, CHANGES), copied, tmp_path / "stage")
    assert "\n" not in str(caught.value)


def test_a_shard_of_another_ingest_is_refused(copied, tmp_path, ray_session):
    other = ingest.run(parse(TREE, {"ingest.row_group_kb": 1}), Nothing(), tmp_path / "other")
    name = manifest.load(copied.folder).train[0].path
    shutil.copy(other.folder / name, copied.folder / name)
    with pytest.raises(UserError, match=r"part-00000\.parquet: its sha256 is not the one in the manifest"):
        pretrain.run(parse(TREE, CHANGES), copied, tmp_path / "stage")
