"""A node leaves and another comes: training goes on with one worker, then with two again, and nothing else changes."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.local_nodes import TRAINER, down
from pipelines.storage import outbox
from pipelines.train.audit import of_run
from tests.pipelines.train.test_kills import losses, recipe
from tests.support.kill_runs import KilledRun
from tests.support.node_runs import NodesRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TRAIN = {"steps": 1_000_000, "global_batch_size": 64, "log_every": 10, "checkpoint_seconds": 1, "threads": 1}
TRAIN |= {"precision": "fp32"}  # bf16 rounds by how a batch is split
"""Both runs are ended by Ctrl-C: how many steps the resizes take depends on the machine."""
SLOW = {"views": {"global": {"name": "image_crop_jitter", "size": 64}, "eval": {"name": "image_eval", "size": 64}}}
"""A tenth of a second a step, so that they are a few thousand."""
COMPARED = 200
"""Steps after the last resize whose losses are held against those of one worker."""
ELASTIC = {**TRAIN, "num_workers": 2, "min_workers": 1, "max_failures": 100}
CALM = {"lr": 1e-4, "warmup_fraction": 0}
"""Or thousands of steps would blow rounding up."""

PATIENCE_S = 400
"""Ray looks every 20 s what there is, and gives up waiting for what has gone after 20 more."""


@pytest.fixture
def nodes() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="se-", dir="/tmp"))
    yield folder
    down(folder)
    shutil.rmtree(folder, ignore_errors=True)


def sizes(run: KilledRun) -> list[int]:
    """Workers of each start so far."""
    notes = (run.folder() or run.storage) / outbox.NOTES
    return [int(n) for n in re.findall(r" workers: (\d+) on", notes.read_text())] if notes.exists() else []


def test_two_workers_become_one_and_two_again(tmp_path, nodes):
    tree = {**recipe(ELASTIC), **SLOW, "optim": CALM, "ray": {"worker_resource": TRAINER}}
    run = NodesRun(tmp_path / "elastic", tree, nodes)
    whole = KilledRun(tmp_path / "whole", {**recipe(TRAIN), **SLOW, "optim": CALM})

    def goes_on(workers: list[int]) -> bool:
        """Whether these were there last, and have taken a hundred steps; Ray may have begun with fewer."""
        before, last = run.step(), slice(-len(workers), None)
        seen = run.until(lambda: sizes(run)[last] == workers and run.step() >= before + 100, PATIENCE_S)
        return seen and sizes(run)[last] == workers

    try:
        run.up()
        run.start()
        assert goes_on([2]) and run.kill("train node"), run.printed()
        assert goes_on([2, 1]), run.printed()
        run.up()
        assert goes_on([2, 1, 2]), run.printed()
        run.interrupt()
        down(nodes)
        folder = run.folder()
        assert folder is not None
        found = of_run(folder)
        upto = min(found.restarts[-1] + COMPARED, run.step())
        whole.start()
        assert whole.until(lambda: whole.step() >= upto, 900), whole.printed()
        whole.interrupt()
    finally:
        run.close()
        whole.close()
    print(f"\nworkers {sizes(run)}, restarts after steps {found.restarts}: {found.verdict()}")
    assert found.is_exact and len(found.restarts) >= 2
    wanted = dict(losses(whole.folder() or whole.storage))
    taken = {step: loss for step, loss in losses(folder) if step <= upto}
    assert len(taken) >= 30 and taken == pytest.approx({step: wanted[step] for step in taken}, rel=1e-3)
