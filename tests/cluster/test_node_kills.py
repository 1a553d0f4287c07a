"""kill -9 into a cluster of nodes changes nothing: same losses, same weights, each sample once, one history in MLflow.

Kills come at random steps, drawn from SEED: the same ones each time, until somebody changes it.
"""

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import local_nodes
from pipelines.storage import checkpoint
from pipelines.tracking import shipping
from pipelines.train.audit import Audit, of_run
from tests.pipelines.train.test_kills import assert_equal, recipe, undisturbed
from tests.support.mlflow_server import MlflowServer
from tests.support.node_runs import NodesRun
from tests.support.tracked import history, runs, written

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SEED = 0
ROLES = ("worker", "train node", "driver", "head", "mlflow")
TRAIN = {"steps": 1000, "num_workers": 2, "checkpoint_seconds": 0.5, "max_failures": 100, "threads": 1}
LARGE: dict[str, Any] = {
    "views": {"global": {"name": "image_crop_jitter", "size": 128}, "eval": {"name": "image_eval", "size": 128}},
    "encoder": {"name": "vit", "dim": 16, "depth": 1, "heads": 2, "patch_size": 32},
    "data": {"block_mb": 4},
}
"""Sections with which a step takes 1.6 MB and little else: readers cannot run far ahead, and are busy nearly always."""
READ = {**TRAIN, "steps": 1500}
STORE_MB = 80
"""Of each node, about the least that Ray takes: some hundred steps ahead."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """The undisturbed run, on a Ray of one node."""
    return undisturbed(tmp_path_factory.mktemp("whole"), TRAIN)


@pytest.fixture(scope="module")
def whole_read(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """The same with large views."""
    return undisturbed(tmp_path_factory.mktemp("whole-read"), READ, **LARGE)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sn-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def small(nodes: Path) -> Iterator[Path]:
    """Folder of a cluster of its own, while the other one is down."""
    local_nodes.down(nodes)
    folder = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp"))
    yield folder
    local_nodes.down(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()


def assert_ends_well(run: NodesRun, seconds: float) -> None:
    """Where MLflow came back after the end of the command, the same command ships the rest."""
    assert run.wait(seconds) == 0, run.printed()
    state = shipping.state(run.folder() or run.storage)
    if state and not state.done:
        run.start()
        assert run.wait(200) == 0, run.printed()


def assert_tracked_once(run: NodesRun) -> None:
    """One run with one child for the pre-training, which has every point that was written, and each once."""
    config, folder = run.config(), run.folder()
    assert folder is not None
    (parent,), children = runs(config, run.storage)
    (child,) = (each for each in children if each.data.tags["selfray.stage"] == "pretrain")
    assert parent.info.status == child.info.status == "FINISHED"
    assert history(config, run.storage, child) == written(folder)


@pytest.fixture(scope="module", autouse=True)
def ended(nodes: Path) -> Iterator[None]:
    yield
    local_nodes.down(nodes)


def assert_killed_and_like(run: NodesRun, role: str, whole: Path) -> Audit:
    """Kill that role at a random step, repair what has to be, and hold the end against the undisturbed run."""
    moment = random.Random(f"{SEED} {role}").randrange(50, 700)
    try:
        run.up()
        run.start()
        assert run.until(lambda: run.step() >= moment and run.kill(role), 300), run.printed()
        at = run.step()
        if role == "mlflow":
            assert run.until(lambda: run.step() >= at + 100, 300), "training goes on without it"
        run.repair(role)
        assert_ends_well(run, 600)
        found = of_run(run.folder() or run.storage)
        assert at < found.total, "it was killed while training"
        assert_equal(run, whole)
        assert_tracked_once(run)
        print(f"\nseed {SEED}: {role} killed at step {at}\n{found.markdown()}")
        return found
    finally:
        run.close()


@pytest.mark.parametrize("role", ROLES)
def test_a_kill_changes_nothing(role, tmp_path, nodes, server, whole):
    run = NodesRun(tmp_path, {**recipe(TRAIN), "name": role.replace(" ", "-")}, nodes, server)
    assert len(assert_killed_and_like(run, role, whole).restarts) == (role != "mlflow")


def test_a_kill_of_a_node_that_only_reads_changes_nothing(tmp_path, small, server, whole_read):
    """While it reads; Ray runs its tasks again elsewhere, or starts the workers again that waited for them."""
    run = NodesRun(tmp_path, {**recipe(READ), **LARGE, "name": "data-node"}, small, server, store_mb=STORE_MB)
    assert_killed_and_like(run, "data node", whole_read)


def test_workers_on_two_nodes_are_fed_by_nodes_that_only_read(tmp_path, small, whole_read):
    """Four nodes of one CPU: two train, the others read and augment for them; the same comes out as on one node."""
    run = NodesRun(tmp_path, {**recipe(READ), **LARGE}, small, num_nodes=4, cpus=1, store_mb=STORE_MB)
    fed: set[int] = set()

    def seen() -> bool:
        if sum(trainers := run.trainers()) == 2:
            assert max(trainers) == 1, "the workers are on two nodes"
            at_work = zip(trainers, run.readers(), strict=True)
            fed.update(node for node, (trains, reads) in enumerate(at_work) if reads and not trains)
        return bool(fed)

    try:
        run.up()
        run.start()
        assert run.until(seen, 300), run.printed()
        assert run.wait(600) == 0, run.printed()
        assert_equal(run, whole_read)
        print(f"\nnodes that only read: {sorted(fed)}")
    finally:
        run.close()


def test_a_notice_that_a_node_will_leave_makes_a_checkpoint_first(tmp_path, nodes, whole):
    """By the clock there would be none for an hour."""
    run = NodesRun(tmp_path, recipe({**TRAIN, "checkpoint_seconds": 3600}), nodes)

    def saved() -> int:
        folder = run.folder()
        return checkpoint.latest_step(folder / "checkpoints") if folder else 0

    try:
        run.up()
        run.start()
        assert run.until(lambda: run.step() >= 100 and run.notice(), 300), run.printed()
        assert run.until(lambda: saved() > 0, 60), run.printed()
        at = saved()
        assert run.kill("train node") and at < TRAIN["steps"]
        assert run.wait(600) == 0, run.printed()
        assert_equal(run, whole)
        assert "about to leave: saving a checkpoint" in run.printed()
        (restart,) = of_run(run.folder() or tmp_path).restarts
        assert restart == at, "it went on from the checkpoint that the notice made"
    finally:
        run.close()
