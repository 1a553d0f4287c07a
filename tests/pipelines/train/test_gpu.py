"""Commands as a user runs them, on a machine with a CUDA device: killed, gone on, and taken up by a CPU."""

import pytest

from pipelines.train.audit import of_run
from tests.pipelines.train.test_kills import losses, recipe
from tests.support.kill_runs import KilledRun

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]
TRAIN = {"steps": 1500, "checkpoint_seconds": 0.5, "device": "cuda"}


def test_a_kill_on_a_gpu_loses_nothing(tmp_path):
    """A worker, then the driver; the rest of the steps is taken on a CPU."""
    run = KilledRun(tmp_path, recipe(TRAIN))
    try:
        run.start()
        assert run.until(lambda: run.step() >= 200 and run.kill("worker"), 120), run.printed()
        assert run.until(lambda: run.step() >= 600 and run.kill("driver"), 120), run.printed()
        run.wait(60)
        run.write(recipe({**TRAIN, "device": "cpu"}))
        run.start()
        assert run.wait(200) == 0, run.printed()
        folder = run.folder()
        assert folder is not None
        found = of_run(folder)
        assert found.is_exact and found.is_complete and len(found.restarts) >= 2
        assert "workers: 1 on cuda, bf16" in run.printed() and "workers: 1 on cpu" in run.printed()
        assert losses(folder)[-1][1] < losses(folder)[0][1] - 0.3, "it learned across all of it"
    finally:
        run.close()
