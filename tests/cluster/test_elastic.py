"""A node leaves and another comes: training goes on with one worker, then with two again, and nothing else changes."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.local_nodes import TRAINER, down
from pipelines import outbox
from pipelines.audit import of_run
from tests.pipelines.test_kills import losses, recipe, undisturbed
from tests.support.node_runs import NodesRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TRAIN = {"steps": 6000, "log_every": 10, "checkpoint_seconds": 1, "max_failures": 100, "threads": 1}
ELASTIC = {**TRAIN, "num_workers": 2, "min_workers": 1}
CALM = {"lr": 1e-4}
"""Or thousands of steps would blow rounding up."""


@pytest.fixture
def nodes() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="se-", dir="/tmp"))
    yield folder
    down(folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_two_workers_become_one_and_two_again(tmp_path, nodes, ray_session):
    run = NodesRun(tmp_path, {**recipe(ELASTIC), "optim": CALM, "ray": {"worker_resource": TRAINER}}, nodes)

    def sizes() -> list[int]:
        folder = run.folder()
        notes = folder / outbox.NOTES if folder else None
        return (
            [int(n) for n in re.findall(r" workers: (\d+) on", notes.read_text())] if notes and notes.exists() else []
        )

    try:
        run.up()
        run.start()
        assert run.until(lambda: run.step() >= 100, 300) and run.kill("train node"), run.printed()
        left = run.step()
        assert run.until(lambda: sizes() == [2, 1] and run.step() > left + 100, 200), run.printed()
        run.up()
        assert run.until(lambda: sizes() == [2, 1, 2], 200), run.printed()
        assert run.wait(600) == 0, run.printed()
    finally:
        run.close()
    folder = run.folder()
    assert folder is not None
    found = of_run(folder)
    print(f"\nworkers {sizes()}\n{found.markdown()}")
    assert found.is_exact and len(found.restarts) == 2
    whole = undisturbed(tmp_path / "whole", TRAIN, CALM)
    assert dict(losses(folder)) == pytest.approx(dict(losses(whole)), rel=1e-3)
