"""kill -9 into a cluster of three nodes changes nothing: same losses, same weights, each sample once."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import checkpoint
from pipelines.audit import of_run
from tests.pipelines.test_kills import assert_equal, recipe, undisturbed
from tests.support.kill_runs import KilledRun
from tests.support.node_runs import NodesRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TRAIN = {"steps": 1000, "num_workers": 2, "checkpoint_seconds": 0.5, "max_failures": 100, "threads": 1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> KilledRun:
    """The undisturbed run, on a Ray of one node."""
    return undisturbed(tmp_path_factory.mktemp("whole"), TRAIN)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sn-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def run(tmp_path: Path, nodes: Path) -> Iterator[NodesRun]:
    run = NodesRun(tmp_path, recipe(TRAIN), nodes)
    yield run
    run.close()


@pytest.fixture(scope="module", autouse=True)
def ended(nodes: Path) -> Iterator[None]:
    yield
    from cluster import local_nodes

    local_nodes.down(nodes)


@pytest.mark.parametrize("role", ["worker", "train node", "data node", "driver", "head"])
def test_a_kill_changes_nothing(role, run, whole):
    run.up()
    run.start()
    assert run.until(lambda: run.step() >= 100 and run.kill(role), 300), run.printed()
    at = run.step()
    if role in ("driver", "head"):
        assert run.wait(200) != 0
        run.up()
        run.start()
    assert run.wait(600) == 0, run.printed()
    assert at < TRAIN["steps"], "it was killed while training"
    assert_equal(run, whole)
    folder = run.folder()
    assert folder is not None
    found = of_run(folder)
    if role != "data node":  # whose tasks Ray runs again elsewhere, or the workers with them
        assert len(found.restarts) == 1
    print(f"\n{role} killed at step {at}\n{found.markdown()}")


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
